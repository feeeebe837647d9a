//! Amazon Resource Names: the one reader and writer of them.

use std::fmt;

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`, by its parts.
///
/// Only the number of parts is checked: any may be empty, and the resource may have colons itself.
///
/// ```
/// use reaper_core::arn::Arn;
///
/// let arn = Arn::parse("arn:aws:iam::123456789012:user/team/jane").unwrap();
/// assert_eq!((arn.service, arn.account, arn.resource), ("iam", "123456789012", "user/team/jane"));
/// assert_eq!(Arn::parse("arn:aws:iam::123456789012"), None);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: &'a str,
    /// Such as `iam`, `sts`, `ssm`.
    pub service: &'a str,
    /// The Region's code; empty for what has none, as in IAM.
    pub region: &'a str,
    /// The account's 12 digits.
    pub account: &'a str,
    /// Such as `user/team/jane`.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Reads an ARN. `None` if it does not start with `arn:`, or has fewer than six parts.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        Self::fields(text.strip_prefix("arn:")?)
    }

    /// Reads what follows `arn:`.
    pub(crate) fn fields(mut rest: &'a str) -> Option<Self> {
        let mut field = || {
            // By bytes, which is faster: this runs for every owner.
            let at = rest.bytes().position(|it| it == b':')?;
            let field = rest.get(..at)?;
            rest = rest.get(at + 1..)?;
            Some(field)
        };
        let (partition, service, region, account) = (field()?, field()?, field()?, field()?);
        Some(Self { partition, service, region, account, resource: rest })
    }
}

impl fmt::Display for Arn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, service, region, account, resource } = *self;
        f.write_str(&["arn", partition, service, region, account, resource].join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_has_six_parts() {
        for text in ["arn:a:b:c:d:e", "arn:::::", "arn:aws:lambda:eu-west-1:1:function:f:7"] {
            assert_eq!(Arn::parse(text).map(|it| it.to_string()).as_deref(), Some(text));
        }
        for text in ["", "arn", "arn:", "arn:a:b:c:d", "urn:a:b:c:d:e", "a:b:c:d:e"] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }
}
