//! The version of the AWS CLI whose shape the output has.

use crate::environment::variable;

/// A major version of the AWS CLI.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Version {
    /// 1.46.3: times are numbers of seconds.
    #[default]
    One,
    /// 2.9.19: times are texts in ISO 8601, there is YAML, and exit statuses tell kinds of errors apart.
    Two,
}

/// The option and the variable that choose it. The option is no option of the AWS CLI's, so it is not among
/// those that may be abbreviated.
pub(crate) const OPTION: &str = "--cli-version";
const VARIABLE: &str = "REAPCTL_CLI_VERSION";

impl Version {
    /// Takes the option from the words; without it, the variable decides.
    ///
    /// # Errors
    /// If it is neither 1 nor 2.
    pub(crate) fn take(words: &[String]) -> Result<(Self, Vec<String>), String> {
        let mut rest = Vec::with_capacity(words.len());
        let mut chosen = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                rest.push(word.clone());
                break;
            }
            match word.strip_prefix(OPTION) {
                Some("") => chosen = Some((OPTION, words.next().cloned().unwrap_or_default())),
                Some(value) if value.starts_with('=') => {
                    chosen = Some((OPTION, value.trim_start_matches('=').to_owned()));
                }
                _ => rest.push(word.clone()),
            }
        }
        rest.extend(words.cloned());
        let set = || variable(VARIABLE).filter(|it| !it.is_empty()).map(|it| (VARIABLE, it));
        let version = match chosen.or_else(set) {
            None => Self::One,
            Some((_, value)) if value == "1" => Self::One,
            Some((_, value)) if value == "2" => Self::Two,
            Some((name, value)) => {
                return Err(format!(
                    "argument {name}: invalid choice: '{value}' (choose from 1, 2)"
                ));
            }
        };
        Ok((version, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_anywhere() {
        for (words, expected) in [
            ("a --state x", Ok((Version::One, "a --state x"))),
            ("a --cli-version 2 --state x", Ok((Version::Two, "a --state x"))),
            ("--cli-version=2 a", Ok((Version::Two, "a"))),
            ("--cli-version 2 --cli-version 1", Ok((Version::One, ""))),
            ("a -- --cli-version 2", Ok((Version::One, "a -- --cli-version 2"))),
            ("--cli-versions 2", Ok((Version::One, "--cli-versions 2"))),
            ("--cli-version", Err("argument --cli-version: invalid choice: '' (choose from 1, 2)")),
            (
                "--cli-version=3",
                Err("argument --cli-version: invalid choice: '3' (choose from 1, 2)"),
            ),
        ] {
            let words: Vec<String> = words.split_whitespace().map(Into::into).collect();
            let found = Version::take(&words).map(|(version, rest)| (version, rest.join(" ")));
            let expected = expected.map(|(version, rest)| (version, rest.to_owned()));
            assert_eq!(found, expected.map_err(Into::into), "{words:?}");
        }
    }
}
