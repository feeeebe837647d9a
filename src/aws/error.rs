//! A call that did not succeed: its kind, by AWS's code and the SDK's types, and what to say of it.

use std::{error::Error, fmt};

use aws_credential_types::provider::error::CredentialsError;
use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_smithy_runtime_api::client::{
    orchestrator::HttpResponse,
    result::{ConnectorError, SdkError},
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// A call that did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{operation}` {kind} after {attempts} attempt{s}: {detail}", s = if *attempts == 1 { "" } else { "s" })]
pub struct CallError {
    pub(super) operation: &'static str,
    /// What kind of failure it was.
    pub kind: CallErrorKind,
    /// Whether an attempt may have taken effect though no answer said so.
    pub is_ambiguous: bool,
    pub(super) attempts: u32,
    pub(super) detail: String,
}

/// How a call may fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallErrorKind {
    /// The credentials do not allow it, have expired, or cannot be had.
    Denied,
    /// The page's token is not, or no longer, known.
    InvalidToken,
    /// The request, or the state of what it names, is not valid.
    InvalidState,
    /// There was no time for a first attempt.
    NoTime,
    /// AWS, or this side before the request was sent, refused for any other reason.
    Refused,
    /// The Region does not know the keys: the account has not enabled it, or they are wrong.
    UnknownKeys,
    /// Throttled until there was no more time.
    Throttled,
    /// No answer, no intelligible answer, or a server error.
    Unavailable,
}

impl fmt::Display for CallErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied | Self::UnknownKeys => "was denied",
            Self::InvalidToken | Self::InvalidState | Self::Refused => "was refused",
            Self::NoTime => "had no time to start",
            Self::Throttled => "was throttled",
            Self::Unavailable => "failed",
        })
    }
}

/// AWS models few of the errors that it sends, so they are distinguished by their codes.
pub(super) fn kind<E: ProvideErrorMetadata>(err: &SdkError<E, HttpResponse>) -> CallErrorKind {
    match err {
        _ if is_unintelligible(err) => CallErrorKind::Unavailable,
        SdkError::ServiceError(it) => {
            let status = it.raw().status().as_u16();
            kind_of_code(it.err().code().unwrap_or_default(), status)
        }
        SdkError::DispatchFailure(it)
            if it.as_connector_error().is_some_and(is_about_credentials) =>
        {
            CallErrorKind::Denied // Nothing was sent.
        }
        SdkError::DispatchFailure(it) if it.is_user() => CallErrorKind::Refused,
        SdkError::ConstructionFailure(_) => CallErrorKind::Refused,
        SdkError::DispatchFailure(_)
        | SdkError::ResponseError(_)
        | SdkError::TimeoutError(_)
        | _ => CallErrorKind::Unavailable,
    }
}

fn kind_of_code(code: &str, status: u16) -> CallErrorKind {
    match code {
        _ if THROTTLING_ERRORS.contains(&code) => CallErrorKind::Throttled,
        _ if status == 429 => CallErrorKind::Throttled,
        _ if TRANSIENT_ERRORS.contains(&code) => CallErrorKind::Unavailable,
        "ConditionalRequestConflict" => CallErrorKind::Unavailable, // S3: another write at once.
        _ if 500 <= status => CallErrorKind::Unavailable,
        "AccessDenied"
        | "AccessDeniedException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidSignatureException"
        | "MissingAuthenticationTokenException"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch" => CallErrorKind::Denied,
        "InvalidClientTokenId" | "UnrecognizedClientException" => CallErrorKind::UnknownKeys,
        "InvalidNextToken" => CallErrorKind::InvalidToken,
        "DoesNotExistException" | "ValidationException" => CallErrorKind::InvalidState,
        _ => CallErrorKind::Refused,
    }
}

/// An answer that cannot be read: of some operations it comes as an error of the service.
pub(super) fn is_unintelligible<E>(err: &SdkError<E, HttpResponse>) -> bool {
    match err {
        SdkError::ServiceError(it) => it.raw().status().is_success(),
        SdkError::ResponseError(_) => true,
        SdkError::ConstructionFailure(_)
        | SdkError::DispatchFailure(_)
        | SdkError::TimeoutError(_)
        | _ => false,
    }
}

fn is_about_credentials(err: &ConnectorError) -> bool {
    sources(err).any(<dyn Error>::is::<CredentialsError>)
}

/// An error, and what it comes from.
pub fn sources<'a>(
    err: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(err), |&it| it.source())
}

#[cfg(test)]
mod tests {
    use super::{
        CallErrorKind::{
            Denied, InvalidState, InvalidToken, Refused, Throttled, Unavailable, UnknownKeys,
        },
        *,
    };

    /// The SDK's lists apply whatever status a code comes with; the other codes are those of AWS's
    /// common errors and of the operations called.
    #[test]
    #[rustfmt::skip]
    fn kinds_of_codes() {
        for code in THROTTLING_ERRORS {
            assert_eq!([400, 503].map(|it| kind_of_code(code, it)), [Throttled; 2], "{code}");
        }
        for code in TRANSIENT_ERRORS {
            assert_eq!(kind_of_code(code, 400), Unavailable, "{code}");
        }
        let table = [
            // code                                    status  kind
            ("BandwidthLimitExceeded",                 400,    Throttled),
            ("EC2ThrottledException",                  400,    Throttled),
            ("PriorRequestNotComplete",                400,    Throttled),
            ("ProvisionedThroughputExceededException", 400,    Throttled),
            ("TransactionInProgressException",         400,    Throttled),
            ("SomethingNew",                           429,    Throttled),
            ("",                                       503,    Unavailable),
            ("InternalServerError",                    500,    Unavailable),
            ("AccessDeniedException",                  400,    Denied),
            ("InvalidSignatureException",              400,    Denied),
            ("UnrecognizedClientException",            400,    UnknownKeys),
            ("InvalidClientTokenId",                   403,    UnknownKeys),
            ("ConditionalRequestConflict",             409,    Unavailable),
            ("InvalidNextToken",                       400,    InvalidToken),
            ("ValidationException",                    400,    InvalidState),
            ("SomethingNew",                           400,    Refused),
            ("",                                       404,    Refused),
        ];
        for (code, status, expected) in table {
            assert_eq!(kind_of_code(code, status), expected, "{code} {status}");
        }
    }
}
