//! Many accounts and Regions: an emulator for each, and what AWS answers for all of them.

mod directory;
mod fleet;
mod names;
mod objects;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use tower::Service;

pub use self::fleet::{AccountFleet, AccountState, Hub, OrganizationFleet, RegionFleet};
pub(crate) use self::{
    directory::{Directory, same_accounts},
    objects::{ObjectRequest, Objects},
};
use crate::{
    client,
    emulator::{Call, Clock, Emulator, Reset},
    fault::Fault,
    fleet::{Behaviour, Fleet},
    wire::{self, ApiError, Protocol},
};

/// Many accounts and Regions of AWS. Clones share them.
///
/// A call goes to the account of its access key, in the Region for which it was signed: its
/// account-Region, which is an [`Emulator`]. The organization itself answers `AssumeRole`,
/// `GetCallerIdentity`, `ListAccounts`, `GetObject` and `PutObject`.
///
/// ```
/// use session_manager_emulator::{Organization, OrganizationFleet};
///
/// let fleet = OrganizationFleet::parse(
///     r#"
///     hub: { account: "999999999999", region: eu-central-1 }
///     accounts:
///       - id: "111111111111"
///         regions:
///           eu-west-1: { sessions: [{ id: jane-1, age: 3h }] }
///     "#,
/// )?;
/// let organization = Organization::new(fleet);
/// let ireland = organization.account_region("111111111111", "eu-west-1");
/// assert_eq!(ireland.active_ids(), ["jane-1"]);
/// # Ok::<(), session_manager_emulator::FleetError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Organization {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    partition: String,
    hub: Hub,
    behaviour: Behaviour,
    /// The Regions that are off, by account.
    off: HashMap<String, HashSet<String>>,
    /// What answers for the organization itself.
    itself: Emulator,
    /// By account and Region. There is no limit to Regions, so they are made when they are needed.
    account_regions: Mutex<HashMap<String, HashMap<String, AccountRegion>>>,
}

/// An account in a Region.
#[derive(Debug)]
enum AccountRegion {
    /// As the fleet has it: no call has arrived yet.
    Unused(RegionFleet),
    Used(Emulator),
}

/// Who makes a call, and where.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The caller's ARN.
    pub(crate) arn: String,
    /// The caller's account.
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) is_foreign: bool,
    /// Why the call is not carried out, whatever it is.
    pub(crate) refusal: Option<ApiError>,
}

impl Organization {
    /// Seeds an organization; the ages of all its sessions count from this instant.
    #[must_use]
    pub fn new(mut fleet: OrganizationFleet) -> Self {
        let clock = Clock::start(fleet.now);
        let mut account_regions = HashMap::new();
        let mut off = HashMap::new();
        for account in &mut fleet.accounts {
            let regions = std::mem::take(&mut account.regions).into_iter();
            let regions = regions.map(|(region, it)| (region, AccountRegion::Unused(it)));
            let regions: HashMap<_, _> = regions.collect();
            account_regions.insert(account.id.clone(), regions);
            off.insert(account.id.clone(), std::mem::take(&mut account.off).into_iter().collect());
        }
        let OrganizationFleet { partition, hub, parameters, behaviour, faults, .. } = &mut fleet;
        let own = Fleet {
            account: hub.account.clone(),
            partition: partition.clone(),
            region: hub.region.clone(),
            behaviour: Behaviour {
                max_skew: behaviour.max_skew,
                latency: behaviour.latency,
                ..Behaviour::default()
            },
            faults: std::mem::take(faults),
            ..Fleet::default()
        };
        let parameters = std::mem::take(parameters);
        let (partition, hub, behaviour) = (partition.clone(), hub.clone(), behaviour.clone());
        let itself = Emulator::at(clock.clone(), own, Some(Directory::new(fleet)));
        let account_regions = Mutex::new(account_regions);
        let shared = Shared { clock, partition, hub, behaviour, off, itself, account_regions };
        let organization = Self { shared: Arc::new(shared) };
        if !parameters.is_empty() {
            let hub = organization.hub();
            for (name, value) in parameters {
                hub.set_parameter(&name, &value);
            }
        }
        organization
    }

    /// An account in a Region. One that the fleet does not have is empty.
    #[must_use]
    pub fn account_region(&self, account: &str, region: &str) -> Emulator {
        let Shared { clock, partition, behaviour, .. } = &*self.shared;
        let mut account_regions = self.account_regions();
        let known = account_regions.get_mut(account).and_then(|it| it.get_mut(region));
        let unused = match known {
            Some(AccountRegion::Used(emulator)) => return emulator.clone(),
            Some(AccountRegion::Unused(fleet)) => std::mem::take(fleet),
            None => RegionFleet::default(),
        };
        let fleet = unused.into_fleet(partition, account, region, behaviour);
        let emulator = Emulator::at(clock.clone(), fleet, None);
        let used = AccountRegion::Used(emulator.clone());
        account_regions.entry(account.into()).or_default().insert(region.into(), used);
        emulator
    }

    /// The hub's account-Region, which has the Parameter Store.
    #[must_use]
    pub fn hub(&self) -> Emulator {
        let Hub { account, region } = &self.shared.hub;
        self.account_region(account, region)
    }

    /// The time at the start plus the time that passed on the runtime's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Every call so far, in the order in which they arrived.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let mut calls = self.shared.itself.calls();
        for regions in self.account_regions().values() {
            for it in regions.values() {
                if let AccountRegion::Used(emulator) = it {
                    calls.extend(emulator.calls());
                }
            }
        }
        calls.sort_by_key(|it| it.number);
        calls
    }

    /// The calls that name an ARN, a session or a bucket of another account or Region than that of
    /// the access key and the signature. `AssumeRole` by the hub is none.
    ///
    /// They are answered as AWS would: nothing of another account or Region is seen or terminated.
    #[must_use]
    pub fn foreign_calls(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|it| it.is_foreign).collect()
    }

    /// The objects of all buckets, by `BUCKET/KEY`.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        let state = self.shared.itself.state();
        state.directory.as_ref().map(|it| it.objects.contents()).unwrap_or_default()
    }

    /// Sets an object, whatever is there. The bucket exists from then on.
    pub fn put_object(&self, bucket: &str, key: &str, content: impl Into<Bytes>) {
        let now = self.now();
        if let Some(directory) = &mut self.shared.itself.state().directory {
            directory.objects.set(bucket, key, content.into(), now);
        }
    }

    /// Replaces the faults of the organization itself. Their counts start at zero.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.shared.itself.set_faults(faults);
    }

    /// An HTTP client for the SDK whose requests this organization answers.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        client::http_client(self.clone())
    }

    /// Answers one call.
    ///
    /// # Errors
    /// If the connection is to be closed instead.
    pub async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Reset> {
        let mut call = wire::Call::read(&request);
        let emulator = self.route(&mut call);
        emulator.answer_call(call).await
    }

    /// Finds out who makes a call and where. Returns what answers it.
    fn route(&self, call: &mut wire::Call) -> Emulator {
        let Shared { hub, off, itself, .. } = &*self.shared;
        let region = call.signed_for.clone().unwrap_or_else(|| hub.region.clone());
        let (arn, account, is_expired) = {
            let state = itself.state();
            let key = call.access_key.as_deref().unwrap_or_default();
            let key = state.directory.as_ref().and_then(|it| it.key(key));
            match key {
                Some(key) => (key.arn.clone(), key.account.clone(), key.expires_at <= self.now()),
                None => (state.world.caller(""), hub.account.clone(), false),
            }
        };
        let refusal = if is_expired {
            Some(ApiError::token_expired())
        } else {
            let is_off = off.get(&account).is_some_and(|it| it.contains(&region));
            is_off.then(ApiError::unrecognized_client)
        };
        let emulator = match call.protocol {
            Protocol::Json => self.account_region(&account, &region),
            Protocol::Organizations | Protocol::Query | Protocol::Rest => itself.clone(),
        };
        let is_foreign = self.is_foreign(call, &account, &region, &emulator);
        call.route = Some(Route { arn, account, region, is_foreign, refusal });
        emulator
    }

    fn is_foreign(
        &self,
        call: &wire::Call,
        account: &str,
        region: &str,
        emulator: &Emulator,
    ) -> bool {
        let is_hub = account == self.shared.hub.account;
        match call.protocol {
            Protocol::Rest => return !is_hub,
            Protocol::Query if call.operation == "AssumeRole" && is_hub => return false,
            Protocol::Json | Protocol::Organizations | Protocol::Query => {}
        }
        // Another account may share a document.
        let document = call.text("Name").filter(|_| call.operation == "GetDocument");
        if document.is_some_and(|it| emulator.state().world.document(it).is_some()) {
            return false;
        }
        names::another(&call.body, account, region)
            || names::sessions(&call.body).any(|it| {
                !emulator.state().world.knows_session(it) && self.is_session_elsewhere(it)
            })
    }

    /// Whether any account-Region has this session. Takes time for each of them: only what is not
    /// where it was expected is looked for here.
    fn is_session_elsewhere(&self, id: &str) -> bool {
        let account_regions = self.account_regions();
        account_regions.values().flat_map(HashMap::values).any(|it| match it {
            AccountRegion::Unused(fleet) => {
                fleet.sessions.iter().any(|it| it.id.as_deref() == Some(id))
            }
            AccountRegion::Used(emulator) => emulator.state().world.knows_session(id),
        })
    }

    fn account_regions(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, AccountRegion>>> {
        self.shared.account_regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Request<Bytes>> for Organization {
    type Error = Reset;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Reset>> + Send>>;
    type Response = Response<Bytes>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let organization = self.clone();
        Box::pin(async move { organization.answer(request).await })
    }

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        Poll::Ready(Ok(()))
    }
}
