//! The lease: one run at a time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::hub::{Hub, HubError};
use crate::{Budget, aws::Unless, sinks::Sinks};
use reaper_core::{event::Event, organization::RunId};

/// The object of the run that holds the lease, or that held it last.
const KEY: &str = "lease.json";

/// What is kept of the time of a step for giving the lease back: two calls.
const RETURN: Duration = Duration::from_secs(10);

/// The time that is left to a step that gives the lease back in the end.
pub(super) fn before_return(budget: Budget) -> Budget {
    budget.reserve(RETURN, RETURN / 2)
}

/// Which run has the lease, and until when.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    run: RunId,
    until: Timestamp,
}

impl Hub {
    /// Takes the lease for a run. One that holds it already, as when its step is tried again, still does.
    ///
    /// # Errors
    /// If another run holds it, or takes it at the same time.
    pub(super) async fn take_lease(
        &self,
        run: &RunId,
        now: Timestamp,
        budget: Budget,
    ) -> Result<(), HubError> {
        let timeout =
            SignedDuration::try_from(self.config.run_timeout).unwrap_or(SignedDuration::MAX);
        let own = Lease {
            run: run.clone(),
            until: now.saturating_add(timeout).unwrap_or(Timestamp::MAX),
        };
        if self.write(KEY, &own, Unless::Exists, budget).await? {
            return Ok(());
        }
        let found = self.bucket.get(KEY, budget).await.map_err(|err| self.store(KEY, err))?;
        let Some(found) = found else {
            return Err(HubError::NoObject { object: self.object(KEY) });
        };
        let lease = self.parse(&found.bytes)?;
        if lease.run != *run && now < lease.until {
            return Err(self.in_progress(lease));
        }
        let unless = Unless::Changed(&found.etag);
        if self.write(KEY, &own, unless, budget).await? {
            return Ok(());
        }
        let now_there = self.read(KEY, budget).await?;
        Err(self.in_progress(self.parse(&now_there)?))
    }

    /// Whether a run still has the lease: what it sweeps later would meet the next run, and would be swept
    /// by a policy that may be in force no longer.
    ///
    /// # Errors
    /// If it has not.
    pub(super) async fn check_lease(
        &self,
        run: &RunId,
        now: Timestamp,
        budget: Budget,
    ) -> Result<(), HubError> {
        let lease = self.parse(&self.read(KEY, budget).await?)?;
        if lease.run == *run && now < lease.until {
            return Ok(());
        }
        Err(HubError::RunOver { run: run.clone(), object: self.object(KEY) })
    }

    /// Gives the lease back, if this run still has it. If that fails, no other run starts until it expires.
    pub(super) async fn give_lease_back(
        &self,
        run: &RunId,
        sinks: &Sinks,
        now: Timestamp,
        budget: Budget,
    ) {
        if let Err(err) = self.release_lease(run, now, budget).await {
            sinks.emit(&Event::LeaseNotReleased { error: &err.to_string() });
        }
    }

    async fn release_lease(
        &self,
        run: &RunId,
        now: Timestamp,
        budget: Budget,
    ) -> Result<(), HubError> {
        let found = self.bucket.get(KEY, budget).await.map_err(|err| self.store(KEY, err))?;
        let Some(found) = found else {
            return Ok(());
        };
        if self.parse(&found.bytes)?.run != *run {
            return Ok(());
        }
        let over = Lease { run: run.clone(), until: now };
        self.write(KEY, &over, Unless::Changed(&found.etag), budget).await?;
        Ok(())
    }

    fn parse(&self, bytes: &[u8]) -> Result<Lease, HubError> {
        serde_json::from_slice(bytes)
            .map_err(|_| HubError::LeaseUnusable { object: self.object(KEY) })
    }

    fn in_progress(&self, Lease { run, until }: Lease) -> HubError {
        HubError::RunInProgress { run, until, object: self.object(KEY) }
    }
}
