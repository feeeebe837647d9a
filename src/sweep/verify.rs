//! Checks that sessions are really gone: lists again, for a 200 proves nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    Budget,
    aws::Ssm,
    sinks::Sinks,
    sweep::list::list_those,
    sweep::terminate::{Answer, Requested},
};
use reaper_core::{
    event::Event,
    report::{Outcome, OutcomeRecord, Told},
    session::{Record, State, is_terminating},
};

/// The pauses before the passes.
const PAUSES_S: [u64; 5] = [0, 1, 2, 4, 8];

/// So many passes wait also for sessions that are `Terminating`: most of them go in a moment, and
/// some never do.
const PATIENT_PASSES: usize = 3;

/// How one session was last seen after its termination was requested.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Sighting {
    /// Absent in a complete listing.
    Absent,
    /// Listed, in this status.
    Listed(Option<Arc<str>>),
    /// In no listing that proves anything.
    Unseen,
}

/// Lists until every session whose termination was requested is absent, or further passes would show
/// nothing new.
///
/// Only a complete pass proves absence, and only if none of its rows that lack an id may be the
/// session's: those that lacked it before the terminations (`not_evaluated`) are other sessions'.
/// If the last pass was not complete, its problem is the error of a session that may not be gone.
pub async fn verify(
    ssm: &Ssm,
    sinks: &Sinks,
    requested: Vec<Requested>,
    not_evaluated: &[(Record, &str)],
    budget: Budget,
    memory: usize,
) -> Vec<OutcomeRecord> {
    let mut watched: Vec<_> = requested.into_iter().map(|it| (it, Sighting::Unseen)).collect();
    let mut problem = None;
    for (n_passes, pause) in PAUSES_S.map(Duration::from_secs).into_iter().enumerate() {
        let is_open = |(it, sighting): &_| may_change(it, sighting, n_passes);
        if !watched.iter().any(is_open) || budget.last_start <= Instant::now() + pause {
            break;
        }
        sleep(pause).await;
        let ids: HashSet<&str> = watched.iter().map(|(it, _)| &*it.step.session.id).collect();
        let is_wanted = |it: &mut Record| it.id.as_deref().is_none_or(|id| ids.contains(id));
        let census = list_those(ssm, State::Active, budget, memory, is_wanted).await;
        let (named, mut nameless): (Vec<_>, Vec<_>) =
            census.pages.into_iter().flatten().partition(|it| it.id.is_some());
        for (stranger, _why) in not_evaluated.iter().filter(|(it, _)| it.id.is_none()) {
            if let Some(i) = nameless.iter().position(|it| it.is_like(stranger)) {
                nameless.swap_remove(i);
            }
        }
        let with_id = named.into_iter().filter_map(|it| Some((it.id?, it.status)));
        let mut statuses: HashMap<Arc<str>, Option<Arc<str>>> = with_id.collect();
        for (requested, sighting) in &mut watched {
            let session = &requested.step.session;
            let may_be_it = |it: &Record| it.may_be(session);
            match statuses.remove(&session.id) {
                Some(status) => *sighting = Sighting::Listed(status),
                None if census.problem.is_none() && !nameless.iter().any(may_be_it) => {
                    *sighting = Sighting::Absent;
                }
                None => {}
            }
        }
        problem = census.problem.map(|it| it.to_string());
    }
    let is_open = |(it, sighting): &(Requested, _)| outcome(it, sighting) == Outcome::Unconfirmed;
    if let Some(error) = problem.as_deref().filter(|_| watched.iter().any(is_open)) {
        sinks.emit(&Event::VerificationFailed { error });
    }
    let problem: Option<Arc<str>> = problem.map(Into::into);
    let outcome_record = |(requested, sighting)| {
        let outcome = outcome(&requested, &sighting);
        let Requested { step, error, .. } = requested;
        let why = problem.clone().filter(|_| outcome == Outcome::Unconfirmed);
        let error = error.or(why);
        let last_status = match sighting {
            Sighting::Listed(status) => status,
            Sighting::Absent | Sighting::Unseen => None,
        };
        let is_told = last_status.is_some() || error.is_some();
        let told = is_told.then(|| Box::new(Told { last_status, error }));
        OutcomeRecord { step, outcome, told }
    };
    watched.into_iter().map(outcome_record).collect()
}

/// Whether another pass may show more of a session.
fn may_change(requested: &Requested, sighting: &Sighting, n_passes: usize) -> bool {
    match (requested.answer, sighting) {
        (Answer::Denied | Answer::Throttled, _)
        | (_, Sighting::Absent)
        | (Answer::Refused, Sighting::Listed(_)) => false,
        (
            Answer::Accepted | Answer::Ambiguous | Answer::InvalidState { .. },
            Sighting::Listed(status),
        ) => n_passes < PATIENT_PASSES || !is_terminating(status.as_deref()),
        (_, Sighting::Unseen) => true,
    }
}

/// What really happened, as far as it is proved.
fn outcome(requested: &Requested, sighting: &Sighting) -> Outcome {
    let was_terminating = requested.step.session.is_terminating();
    match (requested.answer, sighting) {
        (Answer::Denied, _) => Outcome::Denied,
        (Answer::Throttled, _) => Outcome::Throttled,
        (Answer::Accepted, Sighting::Absent) if !was_terminating => Outcome::Terminated,
        // Nothing proves that this request terminated it.
        (
            Answer::Accepted | Answer::Ambiguous | Answer::InvalidState { .. } | Answer::Refused,
            Sighting::Absent,
        ) => Outcome::AlreadyGone,
        (Answer::Accepted | Answer::Ambiguous, Sighting::Listed(_) | Sighting::Unseen)
        | (Answer::InvalidState { .. }, Sighting::Unseen)
        | (Answer::InvalidState { is_ambiguous: true }, Sighting::Listed(_)) => {
            Outcome::Unconfirmed
        }
        // Something has terminated it, and it is still listed.
        (Answer::InvalidState { .. } | Answer::Refused, Sighting::Listed(status))
            if is_terminating(status.as_deref()) =>
        {
            Outcome::Unconfirmed
        }
        (Answer::InvalidState { is_ambiguous: false } | Answer::Refused, Sighting::Listed(_))
        | (Answer::Refused, Sighting::Unseen) => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use reaper_core::{
        evaluate::Verdict,
        plan::{Action, Step},
        session::Session,
        target::Tags,
    };

    use super::*;

    /// `terminated` needs a request that AWS accepted, for a session that was not `Terminating`.
    #[test]
    #[rustfmt::skip]
    fn outcomes() {
        use Outcome::{AlreadyGone, Denied, Failed, Terminated, Throttled, Unconfirmed};
        let terminating = Sighting::Listed(Some("Terminating".into()));
        let sightings = [Sighting::Absent, Sighting::Listed(None), terminating, Sighting::Unseen];
        let table = [
            // answer                                      absent       listed       terminating  unseen
            (Answer::Accepted,                             [Terminated,  Unconfirmed, Unconfirmed, Unconfirmed]),
            (Answer::Ambiguous,                            [AlreadyGone, Unconfirmed, Unconfirmed, Unconfirmed]),
            (Answer::InvalidState { is_ambiguous: true },  [AlreadyGone, Unconfirmed, Unconfirmed, Unconfirmed]),
            (Answer::InvalidState { is_ambiguous: false }, [AlreadyGone, Failed,      Unconfirmed, Unconfirmed]),
            (Answer::Refused,                              [AlreadyGone, Failed,      Unconfirmed, Failed]),
            (Answer::Denied,                               [Denied,      Denied,      Denied,      Denied]),
            (Answer::Throttled,                            [Throttled,   Throttled,   Throttled,   Throttled]),
        ];
        for (answer, expected) in table {
            let actual = sightings.each_ref().map(|it| outcome(&requested(answer, None), it));
            assert_eq!(actual, expected, "{answer:?}");
            // Whatever AWS answers to one that was terminated before, this sweep did not do it.
            let again = requested(answer, Some("Terminating"));
            let actual = sightings.each_ref().map(|it| outcome(&again, it));
            let expected = expected.map(|it| if it == Terminated { AlreadyGone } else { it });
            assert_eq!(actual, expected, "{answer:?}");
        }
    }

    fn requested(answer: Answer, status: Option<&str>) -> Requested {
        let session = Session {
            id: "s-1".into(),
            owner: "o".into(),
            target: "t".into(),
            started_at: Timestamp::UNIX_EPOCH,
            status: status.map(Into::into),
            document: None,
            reason: None,
            access_type: None,
        };
        let step = Step {
            session: Box::new(session),
            tags: Tags::Known(Arc::default()),
            verdict: Verdict::Violation { rules: ["r".into()].into(), unknown: None },
            excess: Box::default(),
            action: Action::Terminate,
        };
        Requested { step, answer, error: None }
    }
}
