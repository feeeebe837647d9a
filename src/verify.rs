//! Checks that sessions are really gone: lists again, for a 200 proves nothing.

use std::{collections::HashMap, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    act::{Answer, Tried},
    list::list,
    report::{Outcome, Settled},
    session::Record,
    ssm::{Ssm, Within},
};

/// The pauses before the passes.
const PAUSES_S: [u64; 5] = [0, 1, 2, 4, 8];

/// How one session was last seen after it had been asked to end.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Sighting {
    /// Absent in a complete listing.
    Absent,
    /// Listed, in this status.
    Listed(Option<String>),
    /// In no listing that proves anything.
    Unseen,
}

/// Lists until every session asked to end is absent, or further passes promise nothing.
///
/// Only a complete pass proves absence. The passes stop early when nobody is left, or only sessions
/// that are `Terminating`.
pub async fn verify(ssm: &Ssm, tried: Vec<Tried>, within: Within) -> Vec<Settled> {
    let is_open = |it: &Tried| !matches!(it.answer, Answer::Denied | Answer::Throttled);
    let ids = tried.iter().filter(|it| is_open(it)).map(|it| it.step.session.id.clone());
    let mut open: HashMap<String, Sighting> = ids.map(|it| (it, Sighting::Unseen)).collect();
    let mut absent = Vec::new();
    for pause in PAUSES_S.map(Duration::from_secs) {
        if open.is_empty() || within.start_by <= Instant::now() + pause {
            break;
        }
        sleep(pause).await;
        let census = list(ssm, within).await;
        let mut is_waiting = false;
        let mut listed: HashMap<&str, &Record> = HashMap::new();
        for record in &census.records {
            listed.extend(record.id.as_deref().map(|id| (id, record)));
        }
        open.retain(|id, sighting| match listed.get(id.as_str()) {
            Some(record) => {
                *sighting = Sighting::Listed(record.status.clone());
                is_waiting |= !record.is_ending();
                true
            }
            None if census.problem.is_none() => {
                absent.push(id.clone());
                false
            }
            None => {
                is_waiting = true;
                true
            }
        });
        if !is_waiting {
            break;
        }
    }
    open.extend(absent.into_iter().map(|id| (id, Sighting::Absent)));
    let settle = |Tried { step, answer, error }| {
        let sighting = open.get(&step.session.id).unwrap_or(&Sighting::Unseen);
        let last_status = match sighting {
            Sighting::Listed(status) => status.clone(),
            Sighting::Absent | Sighting::Unseen => None,
        };
        Settled { outcome: outcome(answer, sighting), last_status, error, step }
    };
    tried.into_iter().map(settle).collect()
}

/// What really happened, as far as it is proved.
fn outcome(answer: Answer, sighting: &Sighting) -> Outcome {
    match (answer, sighting) {
        (Answer::Denied, _) => Outcome::Denied,
        (Answer::Throttled, _) => Outcome::Throttled,
        (Answer::Accepted | Answer::Unclear, Sighting::Absent) => Outcome::Terminated,
        (Answer::NotValid | Answer::Refused, Sighting::Absent) => Outcome::AlreadyGone,
        (Answer::NotValid | Answer::Refused, Sighting::Listed(_))
        | (Answer::Refused, Sighting::Unseen) => Outcome::Failed,
        (Answer::Accepted | Answer::Unclear, Sighting::Listed(_) | Sighting::Unseen)
        | (Answer::NotValid, Sighting::Unseen) => Outcome::Unconfirmed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn outcomes() {
        use Outcome::{AlreadyGone, Denied, Failed, Terminated, Throttled, Unconfirmed};
        let sightings = [Sighting::Absent, Sighting::Listed(None), Sighting::Unseen];
        let table = [
            // answer           absent       listed       unseen
            (Answer::Accepted,  [Terminated,  Unconfirmed, Unconfirmed]),
            (Answer::Unclear,   [Terminated,  Unconfirmed, Unconfirmed]),
            (Answer::NotValid,  [AlreadyGone, Failed,      Unconfirmed]),
            (Answer::Refused,   [AlreadyGone, Failed,      Failed]),
            (Answer::Denied,    [Denied,      Denied,      Denied]),
            (Answer::Throttled, [Throttled,   Throttled,   Throttled]),
        ];
        for (answer, expected) in table {
            let actual = sightings.each_ref().map(|it| outcome(answer, it));
            assert_eq!(actual, expected, "{answer:?}");
        }
    }
}
