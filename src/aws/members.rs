//! The accounts of a run: their keys, by `AssumeRole`, and clients that use them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError, future},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{
    sync::{Mutex as AsyncMutex, OnceCell},
    time::Instant,
};

use super::{
    call::Operation,
    client::Ssm,
    connect::Connect,
    endpoint::STS,
    error::{CallError, CallErrorKind},
    service::{Request, Service, Unread, element},
};
use crate::budget::Budget;
use reaper_core::{arn::Arn, target::Scope};

/// STS allows some hundred a second.
const CALLS_PER_SECOND: f64 = 200.0;

/// Keys are renewed so long before they expire.
const RENEWED_BEFORE: Duration = Duration::from_mins(5);

/// What a renewal may take.
const RENEWAL: Duration = Duration::from_secs(10);

/// The accounts whose role is assumed, each once: also a refusal is kept. What AWS did not answer is asked
/// again for the next Region.
#[derive(Debug)]
pub struct Members {
    connect: Connect,
    roles: Arc<Roles>,
    calls_per_second: f64,
    keys: Mutex<HashMap<String, Arc<Asked>>>,
}

/// What came of assuming the role of one account, once it has been tried.
type Asked = OnceCell<Result<Keys, NoAccess>>;

/// The role of an account was not assumed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the role `{role}` cannot be assumed: {err}")]
pub struct NoAccess {
    role: String,
    /// Why: STS may have refused, or not have answered.
    pub err: CallError,
}

/// The name of a role, and how it is assumed.
#[derive(Debug)]
struct Roles {
    service: Service,
    assume_role: Operation,
    name: String,
    session_name: String,
}

/// The keys of one account, renewed before they expire.
#[derive(Clone, Debug)]
struct Keys {
    roles: Arc<Roles>,
    role: String,
    current: Arc<AsyncMutex<Credentials>>,
}

impl Members {
    /// The role of this name in whatever account is asked for. Its sessions have the session name, which
    /// CloudTrail records.
    ///
    /// STS is called where the connection is: a Region that an account has not enabled has no STS for it.
    #[must_use]
    pub fn new(connect: Connect, role: &str, session_name: &str, calls_per_second: f64) -> Self {
        let roles = Roles {
            service: Service::new(connect.config(), STS),
            assume_role: Operation::new("AssumeRole", "sts:AssumeRole", CALLS_PER_SECOND),
            name: role.into(),
            session_name: session_name.into(),
        };
        Self { connect, roles: Arc::new(roles), calls_per_second, keys: Mutex::default() }
    }

    /// The API that a sweep needs, with the keys of an account and in a Region, at a pace of its own.
    ///
    /// # Errors
    /// If the account's role cannot be assumed. A refusal is asked for once an account, not once a Region.
    pub async fn ssm(&self, scope: &Scope, budget: Budget) -> Result<Ssm, NoAccess> {
        let cell = {
            // Nothing panics while it holds the lock.
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(keys.entry(scope.account.clone()).or_default())
        };
        let asked = cell.get_or_try_init(async || {
            match Keys::assume(Arc::clone(&self.roles), scope, budget).await {
                Err(it) if !it.is_refusal() => Err(it),
                answered => Ok(answered),
            }
        });
        let keys = asked.await?.clone()?;
        let connect = self.connect.clone().with_credentials(keys).at(&scope.region);
        Ok(connect.ssm(self.calls_per_second))
    }
}

impl NoAccess {
    /// Whether AWS has answered, and the answer is no.
    fn is_refusal(&self) -> bool {
        match self.err.kind {
            CallErrorKind::Denied
            | CallErrorKind::InvalidState
            | CallErrorKind::InvalidToken
            | CallErrorKind::Refused
            | CallErrorKind::UnknownKeys => true,
            CallErrorKind::NoTime | CallErrorKind::Throttled | CallErrorKind::Unavailable => false,
        }
    }
}

impl Keys {
    async fn assume(roles: Arc<Roles>, scope: &Scope, budget: Budget) -> Result<Self, NoAccess> {
        let Scope { partition, account, .. } = scope;
        let resource = format!("role/{}", roles.name);
        let arn = Arn { partition, service: "iam", region: "", account, resource: &resource };
        let role = arn.to_string();
        match roles.assume(&role, budget).await {
            Ok(keys) => Ok(Self { roles, role, current: Arc::new(AsyncMutex::new(keys)) }),
            Err(err) => Err(NoAccess { role, err }),
        }
    }

    async fn current(&self) -> Result<Credentials, CallError> {
        let mut current = self.current.lock().await;
        #[expect(clippy::disallowed_methods, reason = "credentials expire in real time")]
        let renewed_at = SystemTime::now() + RENEWED_BEFORE;
        if current.expiry().is_some_and(|it| it <= renewed_at) {
            let at = Instant::now() + RENEWAL;
            let budget = Budget { last_start: at, hard_stop: at };
            *current = self.roles.assume(&self.role, budget).await?;
        }
        Ok(current.clone())
    }
}

impl Roles {
    async fn assume(&self, role: &str, budget: Budget) -> Result<Credentials, CallError> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let [arn, session_name] = [role, &self.session_name].map(encoded);
        let body = format!(
            "Action=AssumeRole&RoleArn={arn}&RoleSessionName={session_name}&Version=2011-06-15"
        );
        let send = || {
            let headers = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
            let body = body.clone().into_bytes();
            let request = Request { method: "POST", path: "/".into(), headers, body };
            self.service.send(request, |answer, body| keys(answer, &body))
        };
        Ok(self.assume_role.call(budget, send, |_| true).await?.0)
    }
}

/// The keys in an answer of `AssumeRole`. All of them are there, or it is none.
fn keys(answer: &HttpResponse, body: &[u8]) -> Result<Credentials, Unread> {
    let status = answer.status();
    if !status.is_success() {
        return Err(Unread::refused_in_xml(status.as_u16(), body));
    }
    let [id, secret, token, expiration] =
        ["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"]
            .map(|name| element(body, name));
    let expiry = expiration.parse::<Timestamp>().ok().map(SystemTime::from);
    match expiry.filter(|_| ![&id, &secret, &token].contains(&&String::new())) {
        Some(expiry) => Ok(Credentials::new(id, secret, Some(token), Some(expiry), "AssumeRole")),
        None => Err(Unread::Unintelligible("the answer has no keys that expire".into())),
    }
}

impl ProvideCredentials for Keys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.current().await.map_err(CredentialsError::provider_error)
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    const KEYS: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <AssumeRoleResult><AssumedRoleUser><Arn>arn</Arn></AssumedRoleUser><Credentials>\
        <AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>a/b+c=</SecretAccessKey>\
        <SessionToken>t==</SessionToken><Expiration>2026-03-02T13:00:00Z</Expiration>\
        </Credentials></AssumeRoleResult></AssumeRoleResponse>";

    fn read(status: u16, body: &str) -> Result<Credentials, Unread> {
        let status = StatusCode::try_from(status).expect("a status");
        keys(&HttpResponse::new(status, SdkBody::empty()), body.as_bytes())
    }

    /// Half of them are none, and what does not say when it expires is not used.
    #[test]
    fn whole_keys() {
        let whole = read(200, KEYS).expect("keys");
        assert_eq!(whole.access_key_id(), "ASIA1");
        assert_eq!(whole.secret_access_key(), "a/b+c=");
        assert_eq!(whole.session_token(), Some("t=="));
        let expiry: Timestamp = "2026-03-02T13:00:00Z".parse().expect("a time");
        assert_eq!(whole.expiry(), Some(expiry.into()));
        for part in ["ASIA1", "a/b+c=", "t==", "2026-03-02T13:00:00Z", "02T13:00:00Z"] {
            let answer = read(200, &KEYS.replace(part, ""));
            assert!(matches!(answer, Err(Unread::Unintelligible(_))), "{part}: {answer:?}");
        }
        assert!(matches!(read(200, ""), Err(Unread::Unintelligible(_))));
    }

    #[test]
    fn refusals() {
        let denied = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
            <Message>no</Message></Error></ErrorResponse>";
        for (status, body, expected) in [
            (403, denied, Some(Some("AccessDenied"))),
            (503, "", Some(None)),
            (403, "<html>proxy</html>", None),
        ] {
            let code = match read(status, body) {
                Err(Unread::Refused(err)) => Some(err.code().map(ToOwned::to_owned)),
                Err(Unread::Unintelligible(_)) | Ok(_) => None,
            };
            assert_eq!(code, expected.map(|it| it.map(ToOwned::to_owned)), "{body}");
        }
    }
}
