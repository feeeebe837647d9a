//! What the organization itself answers: STS, Organizations and S3.

use std::collections::HashMap;

use jiff::Timestamp;
use reaper_core::arn::Arn;
use serde_json::{Value, json};

use crate::{
    emulator::Answer,
    organization::{
        Route,
        fleet::{AccountFleet, AccountState, Hub, OrganizationFleet},
        objects::Objects,
    },
    request::Operation,
    sts,
    wire::{ApiError, Call, Protocol},
};

/// The id of the organization in the ARNs of its accounts.
const ID: &str = "o-emulator00";

/// When every account joined, in seconds since 1970.
const JOINED_AT: f64 = 1_577_836_800.0;

/// The accounts of the organization, the keys that were given, and the hub's objects.
#[derive(Debug)]
pub(crate) struct Directory {
    partition: String,
    hub: Hub,
    accounts: Vec<AccountFleet>,
    by_id: HashMap<String, usize>,
    page_size: usize,
    empty_pages: usize,
    /// By access key.
    keys: HashMap<String, Key>,
    pub(super) objects: Objects,
}

/// Whose an access key is that `AssumeRole` gave.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) arn: String,
    pub(super) account: String,
    pub(super) expires_at: Timestamp,
}

impl Directory {
    pub(super) fn new(fleet: OrganizationFleet) -> Self {
        let ids = fleet.accounts.iter().enumerate();
        Self {
            by_id: ids.map(|(index, it)| (it.id.clone(), index)).collect(),
            partition: fleet.partition,
            hub: fleet.hub,
            accounts: fleet.accounts,
            page_size: fleet.page_size.max(1),
            empty_pages: fleet.empty_pages,
            keys: HashMap::new(),
            objects: Objects::new(fleet.buckets),
        }
    }

    pub(super) fn key(&self, access_key: &str) -> Option<&Key> {
        self.keys.get(access_key)
    }

    pub(crate) fn carry_out(&mut self, call: &Call, now: Timestamp) -> Result<Answer, ApiError> {
        let Some(route) = call.route.as_ref().filter(|_| call.is_signed()) else {
            return Err(ApiError::not_signed());
        };
        match (call.protocol, &call.object) {
            (Protocol::Organizations, _) if call.operation == "ListAccounts" => {
                self.list_accounts(call, route).map(Answer::Json)
            }
            (Protocol::Rest, Some(request)) => {
                if route.account != self.hub.account {
                    return Err(ApiError::access_denied(call));
                }
                if route.region != self.hub.region {
                    return Err(ApiError::bucket_elsewhere(&route.region, &self.hub.region));
                }
                self.objects.answer(request, now).map(Answer::Whole)
            }
            (Protocol::Query, _) => self.sts(call, route, now),
            (Protocol::Json | Protocol::Organizations | Protocol::Rest, _) => {
                Err(ApiError::unknown_operation(call))
            }
        }
    }

    fn sts(&mut self, call: &Call, route: &Route, now: Timestamp) -> Result<Answer, ApiError> {
        match Operation::read(call)? {
            Operation::AssumeRole { role, session, lasts } => {
                let Some((account, name)) = role_of(&role) else {
                    let message = format!("{role} is invalid");
                    return Err(ApiError::new(400, "ValidationException", &message));
                };
                let is_hub = route.account == self.hub.account;
                let partition = &self.partition;
                if !is_hub || !self.may_be_assumed(&role, account, name) {
                    return Err(ApiError::access_denied(call));
                }
                let name = name.rsplit('/').next().unwrap_or(name); // Without its path.
                let arn = format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session}");
                let access_key = format!("ASIAEMULATOR{:08}", self.keys.len());
                let answer = sts::credentials(&access_key, &arn, lasts);
                let key = Key { arn, account: account.into(), expires_at: now + lasts };
                self.keys.insert(access_key, key);
                Ok(Answer::Whole(answer))
            }
            Operation::GetCallerIdentity => {
                Ok(Answer::Whole(sts::identity(&route.arn, &route.account)))
            }
            Operation::DescribeSessions(_)
            | Operation::GetDocument { .. }
            | Operation::PutEvents { .. }
            | Operation::GetParameter { .. }
            | Operation::GetResources { .. }
            | Operation::StartSession { .. }
            | Operation::TerminateSession { .. } => Err(ApiError::unknown_operation(call)),
        }
    }

    fn may_be_assumed(&self, role: &str, account: &str, name: &str) -> bool {
        let index = self.by_id.get(account);
        let is_here = Arn::parse(role).is_some_and(|it| it.partition == self.partition);
        index.and_then(|it| self.accounts.get(*it)).is_some_and(|it| {
            let is_usable = it.state == AccountState::Active && !it.refuses;
            is_here && is_usable && it.role.as_deref().is_none_or(|it| it == name)
        })
    }

    fn list_accounts(&self, call: &Call, route: &Route) -> Result<Value, ApiError> {
        let Value::Object(body) = &call.body else {
            return Err(ApiError::new(400, "SerializationException", ""));
        };
        let size = match body.get("MaxResults") {
            None | Some(Value::Null) => self.page_size,
            Some(it) => match it.as_u64().and_then(|it| usize::try_from(it).ok()) {
                Some(it @ 1..=20) => it.min(self.page_size),
                _ => return Err(ApiError::invalid_input("You specified an invalid value.")),
            },
        };
        let Some(place) = call.text("NextToken").map_or(Some(Place::default()), Place::decode)
        else {
            return Err(ApiError::invalid_token());
        };
        if route.account != self.hub.account {
            let message = "You don't have permissions to access this resource.";
            return Err(ApiError::modelled(400, "AccessDeniedException", message));
        }
        if place.n_empty < self.empty_pages {
            let next = Place { n_empty: place.n_empty + 1, ..place };
            return Ok(json!({"Accounts": [], "NextToken": next.encode(0)}));
        }
        let rest = self.accounts.get(place.n_seen..).unwrap_or_default();
        let rows: Vec<_> = rest.iter().take(size).map(|it| self.row(it)).collect();
        let next = Place { n_seen: place.n_seen + rows.len(), ..place };
        let mut page = json!({"Accounts": rows});
        if let Some(fields) = page.as_object_mut().filter(|_| size < rest.len()) {
            fields.insert("NextToken".into(), next.encode(0).into());
        }
        Ok(page)
    }

    fn row(&self, account: &AccountFleet) -> Value {
        let AccountFleet { id, name, state, .. } = account;
        let Self { partition, hub, .. } = self;
        json!({
            "Id": id,
            "Arn": format!("arn:{partition}:organizations::{}:account/{ID}/{id}", hub.account),
            "Email": format!("{id}@example.com"),
            "Name": name,
            "State": state.name(),
            "Status": state.status(),
            "JoinedMethod": "CREATED",
            "JoinedTimestamp": JOINED_AT,
        })
    }
}

/// The account and name of a role, with its path.
fn role_of(arn: &str) -> Option<(&str, &str)> {
    let role = Arn::parse(arn).filter(|it| it.service == "iam")?;
    Some((role.account, role.resource.strip_prefix("role/")?))
}

/// Where a page of `ListAccounts` begins: after so many empty pages and so many accounts.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    n_empty: usize,
    n_seen: usize,
}

impl Place {
    /// A token. Another nonce makes another token for the same page.
    fn encode(self, nonce: usize) -> String {
        format!("AAMA{:08x}{:08x}-{nonce}", self.n_empty, self.n_seen)
    }

    fn decode(token: &str) -> Option<Self> {
        let (place, _nonce) = token.strip_prefix("AAMA")?.split_once('-')?;
        let (n_empty, n_seen) = place.split_at_checked(8)?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(Self { n_empty: number(n_empty)?, n_seen: number(n_seen)? })
    }
}

/// Another token for the same page of `ListAccounts`; without a token, for the first page.
pub(crate) fn same_accounts(token: Option<&str>, nonce: usize) -> String {
    token.and_then(Place::decode).unwrap_or_default().encode(nonce)
}

impl ApiError {
    fn invalid_input(message: &str) -> Self {
        Self::modelled(400, "InvalidInputException", message)
    }

    fn bucket_elsewhere(signed_for: &str, region: &str) -> Self {
        let message = format!(
            "The authorization header is malformed; the region '{signed_for}' is wrong; expecting \
             '{region}'"
        );
        Self::new(400, "AuthorizationHeaderMalformed", &message)
    }
}
