//! The accounts of the organization.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{
    call::Operation,
    connect::Connect,
    endpoint::{ORGANIZATIONS, home, named},
    error::CallError,
    service::Service,
};
use crate::budget::Budget;
use reaper_core::organization::Account;

/// `ListAccounts` takes one request at a time, which are no more than this; what it throttles is repeated.
const CALLS_PER_SECOND: f64 = 20.0;

/// More pages than any organization has: of at most 20 accounts each, and some are empty.
const MAX_PAGES: usize = 5_000;

/// The API of AWS Organizations, as far as a run needs it.
#[derive(Debug)]
pub struct Accounts {
    service: Service,
    list_accounts: Operation,
}

/// Which page.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    accounts: Option<Vec<Row>>,
    next_token: Option<String>,
}

/// What a run needs to know of an account.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    id: Option<String>,
    state: Option<String>,
    status: Option<String>,
}

/// Why the accounts are not known.
#[derive(Debug, thiserror::Error)]
pub enum AccountsNotListed {
    /// A page could not be had.
    #[error(
        "{0}; only the management account, or a delegated administrator of an AWS service, may list accounts"
    )]
    Call(#[from] CallError),
    /// The pages go round in a circle, or there is no end of them.
    #[error(
        "`ListAccounts` does not come to an end: it repeated a page token, or has more than {MAX_PAGES} pages"
    )]
    Endless,
    /// A row has no account's id.
    #[error("`ListAccounts` returned an account without an id")]
    NoId,
}

impl Accounts {
    /// The API with the credentials of this connection.
    #[must_use]
    pub fn new(connect: &Connect) -> Self {
        let config = connect.config();
        let connect = match config.region() {
            Some(region) if named(config, ORGANIZATIONS).is_none() => {
                connect.clone().at(home(region.as_ref()))
            }
            Some(_) | None => connect.clone(),
        };
        Self {
            service: Service::new(connect.config(), ORGANIZATIONS),
            list_accounts: Operation::new(
                "ListAccounts",
                "organizations:ListAccounts",
                CALLS_PER_SECOND,
            ),
        }
    }

    /// Every account of the organization: `ListAccounts`, one page after the other.
    ///
    /// A page may be empty although others follow it: only the lack of a token is the end.
    ///
    /// # Errors
    /// If not every page could be read: a part of the accounts is never returned.
    pub async fn list(&self, budget: Budget) -> Result<Vec<Account>, AccountsNotListed> {
        let mut accounts = Vec::new();
        let mut tokens = HashSet::new();
        let mut token: Option<String> = None;
        for _page in 0..MAX_PAGES {
            let request = Request { next_token: token.as_deref() };
            let target = "AWSOrganizationsV20161128.ListAccounts";
            let send = || self.service.json::<Page>(target, &request);
            let (page, _at) =
                self.list_accounts.call(budget, send, |it| it.accounts.is_some()).await?;
            for it in page.accounts.unwrap_or_default() {
                let is_active = it.is_active();
                let id = it.id.filter(|it| !it.is_empty()).ok_or(AccountsNotListed::NoId)?;
                accounts.push(Account { id, is_active });
            }
            let next = page.next_token.unwrap_or_default();
            if next.is_empty() {
                return Ok(accounts);
            }
            let is_new = tokens.insert(next.clone());
            if !is_new {
                break;
            }
            token = Some(next);
        }
        Err(AccountsNotListed::Endless)
    }
}

impl Row {
    /// `State` replaces `Status`, which AWS meant to retire in September 2026: where both are there, `State`
    /// counts. What has neither is swept, so that it is seen if its role cannot be assumed.
    fn is_active(&self) -> bool {
        self.state.as_ref().or(self.status.as_ref()).is_none_or(|it| it == "ACTIVE")
    }
}
