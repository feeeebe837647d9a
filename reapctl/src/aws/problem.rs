//! Why the account is not known, with what to do about it.

use std::error::Error;

use anyhow::anyhow;
use aws_config::SdkConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::{
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
    operation::{assume_role::AssumeRoleError, get_caller_identity::GetCallerIdentityError},
};
use awscli::{Login, Settings};
use session_reaper::aws::{remediation, sources};

use crate::debug::root_cause;

/// The error in one line, with what to do.
pub(super) fn translated(
    err: &SdkError<GetCallerIdentityError>,
    config: &SdkConfig,
    settings: &Settings,
    role_arn: Option<&str>,
) -> anyhow::Error {
    let profile = settings.profile.as_ref().map_or(String::new(), |it| format!(" --profile {it}"));
    let renewal = match settings.login() {
        Some((name, login)) => format!("{} --profile {name}", login.command()),
        None => format!("{}{profile}", Login::Sso.command()),
    };
    if let Some(err) = sources(err).find_map(|it| it.downcast_ref::<AssumeRoleError>()) {
        let role = role_arn.map_or("the profile's role".into(), |it| format!("the role `{it}`"));
        let refused = refused(err, "sts:AssumeRole", config, &profile, &renewal);
        if err.code().is_some_and(|it| it.starts_with("AccessDenied")) {
            return anyhow!(
                "cannot assume {role}: {refused}, and let the role's trust policy name the \
                 caller, and the `--external-id` if it asks for one"
            );
        }
        return anyhow!("cannot assume {role}: {refused}");
    }
    if let Some(err) = sources(err).filter_map(|it| it.downcast_ref::<CredentialsError>()).last() {
        // The provider of credentials, such as STS, may be unreachable.
        if sources(err).any(<dyn Error>::is::<ConnectorError>) {
            return unreached(&root_cause(err), config);
        }
        return without_credentials(err, settings, &profile);
    }
    match err.code() {
        Some(_) => {
            let refused = refused(err, "sts:GetCallerIdentity", config, &profile, &renewal);
            anyhow!("cannot find out the account: {refused}")
        }
        None => match err.raw_response().map(|it| it.status().as_u16()) {
            Some(status) => {
                unreached(&format!("HTTP status {status}, and the answer is not AWS's"), config)
            }
            None => unreached(&root_cause(err), config),
        },
    }
}

/// Whether every other call would fail too, because there are no valid credentials, or because the one
/// endpoint for all services does not answer. Otherwise only STS is denied or unreachable, as in a
/// network that has only an endpoint of Systems Manager.
pub(super) fn fails_everywhere(err: &SdkError<GetCallerIdentityError>, config: &SdkConfig) -> bool {
    let is_without_credentials =
        sources(err).any(|it| it.is::<AssumeRoleError>() || it.is::<CredentialsError>());
    let is_refused = err.code().is_some_and(|code| {
        let remediation = remediation(code, err.message().unwrap_or_default(), "");
        !code.starts_with("AccessDenied") && remediation.is_some()
    });
    let is_unreached = err.raw_response().is_none() && config.endpoint_url().is_some();
    is_without_credentials || is_refused || is_unreached
}

/// AWS's error, and what to do.
fn refused(
    err: &impl ProvideErrorMetadata,
    action: &str,
    config: &SdkConfig,
    profile: &str,
    renewal: &str,
) -> String {
    let (code, message) = (err.code().unwrap_or_default(), err.message().unwrap_or_default());
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let remediation = match code {
        "ExpiredToken" | "ExpiredTokenException" => {
            format!("the credentials have expired; renew them, for example with `{renewal}`")
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" => format!(
            "AWS does not know the credentials, or the Region `{region}` is not enabled for the \
             account; see `aws configure list{profile}` and `aws account list-regions`"
        ),
        _ => remediation(code, message, action).unwrap_or_default(),
    };
    let parts = [code, message, &remediation].into_iter().filter(|it| !it.is_empty());
    parts.collect::<Vec<_>>().join(": ")
}

/// There was no answer, or it was not AWS's.
fn unreached(cause: &str, config: &SdkConfig) -> anyhow::Error {
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let remediation = if cause.contains("certificate expired") {
        "renew the endpoint's certificate, or set this machine's clock".into()
    } else if cause.contains("UnknownIssuer") {
        "if its authority is to be trusted, set AWS_CA_BUNDLE to the authority's certificate file"
            .into()
    } else {
        match config.endpoint_url() {
            Some(url) => format!("is `{url}` right? See `--endpoint-url` and AWS_ENDPOINT_URL"),
            None => format!("is the Region `{region}` right? See `--region`"),
        }
    };
    anyhow!("cannot reach AWS ({cause}); {remediation}")
}

fn without_credentials(
    err: &CredentialsError,
    settings: &Settings,
    profile: &str,
) -> anyhow::Error {
    let cause = root_cause(err).split_whitespace().collect::<Vec<_>>().join(" "); // In one line.
    if let Some((name, login)) = settings.login() {
        let command = login.command();
        return anyhow!(
            "not logged in, or the login has expired ({cause}); run `{command} --profile {name}`"
        );
    }
    match (err, &settings.profile) {
        (CredentialsError::CredentialsNotLoaded(_), None) => anyhow!(
            "no credentials were found; use `--profile`, set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY, or run `aws login` or `aws sso login`"
        ),
        (_, Some(name)) => anyhow!(
            "the profile `{name}` gives no credentials ({cause}); see `aws configure list{profile}`"
        ),
        (_, None) => anyhow!("no credentials can be obtained ({cause}); see `aws configure list`"),
    }
}
