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
use aws_sdk_sts as sts;
use tokio::{
    sync::{Mutex as AsyncMutex, OnceCell},
    time::Instant,
};

use super::{
    bounded::ResponseGuard,
    call::Operation,
    client::Ssm,
    connect::Connect,
    error::{CallError, CallErrorKind},
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
    client: sts::Client,
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
        let config = sts::config::Builder::from(&connect.without_retries())
            .interceptor(ResponseGuard)
            .build();
        let roles = Roles {
            client: sts::Client::from_conf(config),
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
        let request =
            self.client.assume_role().role_arn(role).role_session_name(&self.session_name);
        let (answer, _time) = self
            .assume_role
            .call(budget, || request.clone().send(), |it| it.credentials.is_some())
            .await?;
        let keys = answer.credentials;
        let (id, secret, token, expiry) = match keys {
            Some(it) => {
                (it.access_key_id, it.secret_access_key, it.session_token, Some(it.expiration))
            }
            None => Default::default(),
        };
        let expiry = expiry.and_then(|it| SystemTime::try_from(it).ok());
        Ok(Credentials::new(id, secret, Some(token), expiry, "AssumeRole"))
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
