//! What a failed call says: AWS's own words or the transport's, and what to do about it.
//!
//! Nothing is decided by these words: kinds of errors are distinguished by code and type.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::{
    bounded::{MAX_BYTES, is_too_long},
    error::{is_unintelligible, sources},
};

/// What AWS, or the transport, said of a call that this action allows, and what to do about it: in one
/// line.
pub(super) fn detail<E>(action: &str, err: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let (said, advice) = match err.as_service_error() {
        _ if is_unintelligible(err) => (chain(err), Some(on_unintelligible(err))),
        Some(service) => {
            let status = err.raw_response().map_or(0, |it| it.status().as_u16());
            let (code, message) = (service.code(), service.message().unwrap_or_default());
            let said = match (code, message) {
                (Some(code), "") => code.to_owned(),
                (Some(code), message) => format!("{code}: {message}"),
                (None, _) => format!("HTTP status {status}"),
            };
            (said, remediation(code.unwrap_or_default(), message, action))
        }
        None if is_without_credentials(err) => {
            let advice = "give the function a role, or this machine credentials";
            ("no credentials were found".into(), Some(advice.into()))
        }
        None => (chain(err), on_transport(err).map(Into::into)),
    };
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    match advice {
        Some(advice) => format!("{said} ({advice})"),
        None => said,
    }
}

/// What to do about a refusal of this action, if its code shows it.
#[must_use]
pub fn remediation(code: &str, message: &str, action: &str) -> Option<String> {
    let advice = match code {
        "AccessDenied" | "AccessDeniedException" => return Some(on_denial(message, action)),
        "ExpiredToken" | "ExpiredTokenException" => "the credentials have expired: renew them",
        "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "AWS does not know the credentials there: enable the Region for the account, or \
             correct the keys"
        }
        "RequestExpired" | "RequestTimeTooSkewed" => WRONG_CLOCK,
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            if ["expired", "not yet current"].iter().any(|it| message.contains(it)) {
                WRONG_CLOCK
            } else {
                "the secret key does not belong to the access key: correct them"
            }
        }
        _ => return None,
    };
    Some(advice.into())
}

/// Of an answer that can be read, and lacks what was asked for.
pub(super) const NOT_WHOLE: &str =
    "the answer lacks what was asked for (is it AWS's? check the endpoint's URL and any proxy)";

const WRONG_CLOCK: &str = "the clock of this machine is wrong: set it";

/// AWS names the action, mostly the operation's own, the resource, and the kind of policy that is in
/// the way.
fn on_denial(message: &str, action: &str) -> String {
    let named = message.split_once("not authorized to perform: ").and_then(|(_, rest)| {
        let action = rest.split_whitespace().next()?;
        let is_part = |it: char| it.is_ascii_alphanumeric() || ":-*".contains(it);
        (action.contains(':') && action.chars().all(is_part)).then_some(action)
    });
    let action = match named {
        Some(action) => action,
        None if message.contains("ciphertext") => "kms:Decrypt",
        None => action,
    };
    let resource = message.split_once(" on resource: ").and_then(|(_, rest)| {
        let resource = rest.split_whitespace().next()?;
        let is_part = |it: char| it.is_ascii_graphic() && it != '`';
        (resource.starts_with("arn:") && resource.chars().all(is_part)).then_some(resource)
    });
    let allowed = match resource {
        Some(resource) => format!("`{action}` on `{resource}`"),
        None => format!("`{action}`"),
    };
    if message.contains("service control policy") {
        format!("a service control policy of the organization forbids it: have it allow {allowed}")
    } else if message.contains("explicit deny") {
        format!("a policy denies it explicitly: exempt the role from its denial of {allowed}")
    } else if message.contains(":assumed-role/") && allowed.contains(":session/") {
        format!(
            "allow {allowed}; a role has no `aws:username`, so `session/${{aws:username}}-*` never \
             matches"
        )
    } else if action == "ssm:GetDocument" {
        format!("allow {allowed}; of the function's stack, set `ReadSessionDocuments` to `true`")
    } else {
        format!("allow {allowed}")
    }
}

fn on_unintelligible(err: &(dyn Error + 'static)) -> String {
    if sources(err).any(is_too_long) {
        return format!("the answer is longer than {} MiB: is it AWS's?", MAX_BYTES >> 20);
    }
    "the answer cannot be read: is it AWS's? check the endpoint's URL and any proxy".into()
}

fn on_transport(err: &(dyn Error + 'static)) -> Option<&'static str> {
    let words = chain(err);
    let advice = [
        ("certificate expired", "renew the endpoint's certificate, or set this machine's clock"),
        (
            "certificate",
            "its certificate is not trusted: check the endpoint's URL and any proxy; \
             SSL_CERT_FILE names other authorities",
        ),
        ("corrupt message", "it does not speak TLS: check the endpoint's URL"),
        ("dns error", "the name is not known: check the Region, the endpoint's URL and DNS"),
        ("Connection refused", "nothing listens there: check the endpoint's URL and any proxy"),
    ];
    let found = advice.into_iter().find(|(word, _)| words.contains(word));
    found.map(|(_, advice)| advice)
}

fn is_without_credentials(err: &(dyn Error + 'static)) -> bool {
    sources(err)
        .filter_map(|it| it.downcast_ref())
        .any(|it| matches!(it, CredentialsError::CredentialsNotLoaded(_)))
}

/// An error and its sources, for their own texts do not repeat them.
fn chain(err: &(dyn Error + 'static)) -> String {
    sources(err).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where documents may not be read, the template's parameter is named, too.
    #[test]
    fn denied_document() {
        let document = "arn:aws:ssm:eu-central-1:123456789012:document/Team-DbTunnel";
        let parameter = "of the function's stack, set `ReadSessionDocuments` to `true`";
        for (message, expected) in [
            ("no".to_owned(), format!("allow `ssm:GetDocument`; {parameter}")),
            (
                format!(
                    "User: x is not authorized to perform: ssm:GetDocument on resource: {document} because y"
                ),
                format!("allow `ssm:GetDocument` on `{document}`; {parameter}"),
            ),
        ] {
            let advice = remediation("AccessDeniedException", &message, "ssm:GetDocument");
            assert_eq!(advice, Some(expected));
        }
    }

    /// The resource is named where AWS names one. A pattern with a user name is mentioned where it
    /// cannot match: an assumed role has no user name.
    #[test]
    fn denials_name_the_resource() {
        let session = "arn:aws:ssm:eu-central-1:123456789012:session/jo-0a1b2c3d4e5f60718";
        let role = "arn:aws:sts::123456789012:assumed-role/Reaper/s";
        let user = "arn:aws:iam::123456789012:user/jo";
        let action = "ssm:TerminateSession";
        let never = "a role has no `aws:username`, so `session/${aws:username}-*` never matches";
        let on_session = format!("`{action}` on `{session}`");
        for (who, resource, because, expected) in [
            (
                role,
                session,
                "no identity-based policy allows it",
                format!("allow {on_session}; {never}"),
            ),
            (user, session, "no identity-based policy allows it", format!("allow {on_session}")),
            (role, "*", "no identity-based policy allows it", format!("allow `{action}`")),
            (role, "arn:`x`", "no identity-based policy allows it", format!("allow `{action}`")),
            (
                role,
                session,
                "of an explicit deny in a service control policy",
                format!(
                    "a service control policy of the organization forbids it: have it allow {on_session}"
                ),
            ),
            (
                role,
                session,
                "of an explicit deny in an identity-based policy",
                format!(
                    "a policy denies it explicitly: exempt the role from its denial of {on_session}"
                ),
            ),
        ] {
            let message = format!(
                "User: {who} is not authorized to perform: {action} on resource: {resource} because {because}"
            );
            let advice = remediation("AccessDeniedException", &message, "x:Y");
            assert_eq!(advice.as_deref(), Some(expected.as_str()));
        }
    }
}
