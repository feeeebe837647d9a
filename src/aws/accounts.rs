//! The accounts of the organization.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{
    call::Operation,
    connect::Connect,
    endpoint::{dns_suffix, named},
    error::CallError,
    service::{Service, region},
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
        let [is_fips, is_dual_stack] =
            [config.use_fips(), config.use_dual_stack()].map(Option::unwrap_or_default);
        let (home, url) = home(&region(config), is_fips, is_dual_stack);
        let (connect, url) = match named(config, "Organizations") {
            Some(url) => (connect.clone(), url),
            None => (connect.clone().at(home), url),
        };
        Self {
            service: Service::new(&connect, "organizations", Ok(url)),
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

/// The Region that requests are signed for, in the partition of this one, and the endpoint.
///
/// As in the rules of `aws-sdk-organizations` 1.137, which would add 34 CPU-seconds to a debug build from
/// nothing.
fn home(region: &str, is_fips: bool, is_dual_stack: bool) -> (&'static str, String) {
    let partitions = [
        ("cn-", "aws-cn", "cn-northwest-1"),
        ("eu-isoe-", "aws-iso-e", "eu-isoe-west-1"),
        ("eusc-", "aws-eusc", "eusc-de-east-1"),
        ("us-gov-", "aws-us-gov", "us-gov-west-1"),
        ("us-iso-", "aws-iso", "us-iso-east-1"),
        ("us-isob-", "aws-iso-b", "us-isob-east-1"),
        ("us-isof-", "aws-iso-f", "us-isof-south-1"),
    ];
    let known = partitions.into_iter().find(|(prefix, ..)| region.starts_with(prefix));
    let (_, partition, home) = known.unwrap_or(("", "aws", "us-east-1"));
    let name = match partition {
        "aws-us-gov" => "organizations", // It is a FIPS endpoint.
        _ if is_fips => "organizations-fips",
        _ => "organizations",
    };
    let suffix = match partition {
        "aws" | "aws-us-gov" if is_dual_stack => "api.aws",
        "aws-cn" if is_dual_stack => "api.amazonwebservices.com.cn",
        _ => dns_suffix(partition),
    };
    (home, format!("https://{name}.{home}.{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The endpoints that `aws-sdk-organizations` 1.137 is tested with.
    #[test]
    #[rustfmt::skip]
    fn endpoints() {
        let table = [
            // Region         FIPS   dual   host
            ("eu-central-1",   false, false, "organizations.us-east-1.amazonaws.com"),
            ("us-east-1",      true,  false, "organizations-fips.us-east-1.amazonaws.com"),
            ("us-east-1",      true,  true,  "organizations-fips.us-east-1.api.aws"),
            ("cn-north-1",     false, false, "organizations.cn-northwest-1.amazonaws.com.cn"),
            ("cn-north-1",     false, true,  "organizations.cn-northwest-1.api.amazonwebservices.com.cn"),
            ("eu-isoe-west-1", false, false, "organizations.eu-isoe-west-1.cloud.adc-e.uk"),
            ("eusc-de-east-1", true,  false, "organizations-fips.eusc-de-east-1.amazonaws.eu"),
            ("us-gov-east-1",  false, false, "organizations.us-gov-west-1.amazonaws.com"),
            ("us-gov-east-1",  true,  true,  "organizations.us-gov-west-1.api.aws"),
            ("us-iso-west-1",  false, false, "organizations.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", false, false, "organizations.us-isob-east-1.sc2s.sgov.gov"),
            ("us-isof-east-1", false, false, "organizations.us-isof-south-1.csp.hci.ic.gov"),
        ];
        for (region, is_fips, is_dual_stack, host) in table {
            let (home, url) = home(region, is_fips, is_dual_stack);
            assert_eq!(url, format!("https://{host}"), "{region}");
            assert!(host.contains(&format!(".{home}.")), "{region}");
        }
    }
}
