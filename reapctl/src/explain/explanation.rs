//! An assessment in words: what each condition saw, and which one decided.

use std::{collections::BTreeSet, fmt};

use jiff::{Timestamp, Unit};
use reaper_core::{
    census::{Evaluated, Evaluator, Unseen},
    evaluate::{Assessment, Clause, ClauseKind, Item, Key, Part, Verdict},
    pattern::short_owner,
    policy::{Concurrent, Requirement, Subject, Test},
    printable::printable,
    session::Record,
    target::{Tags, Unknown},
    truth::Truth,
};
use reaper_render::table::{cell, table};
use serde::Serialize;
use serde_json::json;

/// What each rule and exemption makes of a session.
pub(crate) struct Explanation {
    pub(crate) verdict: Verdict,
    clauses: Vec<Explained>,
    /// When it will be terminated, if that can be foreseen.
    due: Option<Timestamp>,
}

/// One rule or exemption.
#[derive(Serialize)]
struct Explained {
    kind: ClauseKind,
    id: String,
    in_scope: &'static str,
    /// What came out: `violated`, `does not hold`, …
    state: &'static str,
    parts: Vec<ExplainedPart>,
}

/// One condition or requirement.
#[derive(Serialize)]
struct ExplainedPart {
    key: Key,
    /// With its bound, as the policy has it.
    test: String,
    holds: &'static str,
    /// The session's own value.
    seen: String,
    /// Whether the outcome rests on it.
    decides: bool,
}

impl Explanation {
    /// Of one of the sessions that are active at once, which have been counted.
    pub(crate) fn new(
        evaluator: &Evaluator<'_>,
        now: Timestamp,
        session: &Evaluated,
        active: &[Evaluated],
        unseen: Unseen<'_>,
    ) -> Self {
        let Assessment { verdict, clauses } = evaluator.assess(session);
        let due = evaluator.due(session);
        let seen = Seen { evaluator, now, session, active, unseen };
        let clauses = clauses.iter().map(|it| explained(it, &seen)).collect();
        Self { verdict, clauses, due }
    }

    pub(super) fn json(&self, session_id: &str, at: Timestamp) -> serde_json::Value {
        json!({
            "session_id": session_id,
            "at": at,
            "verdict": self.verdict.name(),
            "rules": self.verdict.rules(),
            "unknown": self.verdict.unknown(),
            "clauses": self.clauses,
            "due": self.due,
        })
    }

    /// Only these rules and exemptions, and every one that may have decided; if none, all.
    pub(crate) fn about(mut self, ids: &[String]) -> Self {
        let decided = self.verdict.rules();
        let is_about =
            |it: &Explained| ids.contains(&it.id) || decided.iter().any(|id| **id == *it.id);
        if self.clauses.iter().any(is_about) {
            let clauses = std::mem::take(&mut self.clauses);
            self.clauses = clauses.into_iter().filter(is_about).collect();
        }
        self
    }
}

impl fmt::Display for Explanation {
    /// Each rule and exemption, its parts in columns, and the verdict. `>` marks what decided.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = table(&["", "", "CONDITION", "HOLDS", "SEEN"]);
        for part in self.clauses.iter().flat_map(|it| &it.parts) {
            table.add_row([
                cell(if part.decides { ">" } else { "" }),
                cell(part.key.name()),
                cell(&part.test),
                cell(part.holds),
                cell(&part.seen),
            ]);
        }
        let mut lines = table.lines();
        if let Some(header) = lines.next() {
            writeln!(f, "{}", header.trim_end())?;
        }
        for Explained { kind, id, in_scope, state, parts } in &self.clauses {
            let kind = match kind {
                ClauseKind::Exemption => "exemption",
                ClauseKind::Rule => "rule",
            };
            let scope = match *in_scope {
                "yes" => "in scope, ",
                "no" => "not in scope, ",
                _ => "scope unknown, ",
            };
            writeln!(f, "{kind} {}: {scope}{state}", printable(id))?;
            for line in lines.by_ref().take(parts.len()) {
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        write!(f, "\nverdict: {}", described(&self.verdict))?;
        if let Verdict::Violation { unknown: Some(_), .. } = self.verdict {
            write!(f, " (one of them, however the unknown turns out)")?;
        }
        if let Some(due) = self.due {
            write!(f, "\ndue: from {due:.0} on, a sweep terminates it")?;
        }
        if let Some(remedy) = self.verdict.unknown().and_then(Unknown::remedy) {
            write!(f, "\n{remedy}")?;
        }
        Ok(())
    }
}

fn explained(clause: &Clause<'_>, seen: &Seen<'_>) -> Explained {
    let state = match (clause.kind, clause.truth) {
        (ClauseKind::Rule, Truth::False) => "not violated",
        (ClauseKind::Rule, Truth::True) => "violated",
        (ClauseKind::Rule, Truth::Unknown) => "may be violated",
        (ClauseKind::Exemption, Truth::False) => "does not hold",
        (ClauseKind::Exemption, Truth::True) => "holds",
        (ClauseKind::Exemption, Truth::Unknown) => "may hold",
    };
    let part = |it: &Part<'_>| ExplainedPart {
        key: it.key,
        test: it.item.to_string(),
        holds: yes_or_no(it.truth),
        seen: seen.value(it.item),
        decides: it.decides,
    };
    Explained {
        kind: clause.kind,
        id: clause.id.to_string(),
        in_scope: yes_or_no(clause.in_scope),
        state,
        parts: clause.parts.iter().map(part).collect(),
    }
}

fn yes_or_no(truth: Truth) -> &'static str {
    match truth {
        Truth::False => "no",
        Truth::True => "yes",
        Truth::Unknown => "unknown",
    }
}

/// What a session is evaluated with.
struct Seen<'a> {
    evaluator: &'a Evaluator<'a>,
    now: Timestamp,
    session: &'a Evaluated,
    active: &'a [Evaluated],
    unseen: Unseen<'a>,
}

impl Seen<'_> {
    /// The session's own value of what is tested.
    fn value(&self, item: Item<'_>) -> String {
        let Self { now, session: Evaluated { session, .. }, .. } = *self;
        match item {
            Item::All | Item::Forbid | Item::Requirement(Requirement::Test(_)) => String::new(),
            Item::Requirement(Requirement::Hours(any)) => {
                let clocks: BTreeSet<String> = any.iter().map(|it| it.clock(now)).collect();
                clocks.into_iter().collect::<Vec<_>>().join(", ")
            }
            Item::Requirement(Requirement::MaxAge(_)) => {
                let age = session.age(now);
                format!("{:#}", age.round(Unit::Millisecond).unwrap_or(age))
            }
            Item::Requirement(Requirement::Concurrent(it)) => self.before(*it),
            Item::Test(test) => value(test, self.evaluator.subject(self.session)),
            Item::Until(_) => format!("{now:.0}"),
        }
    }

    /// The sessions that stand before this one in its group.
    fn before(&self, concurrent: Concurrent) -> String {
        let before = self.evaluator.before(concurrent, self.session, self.active);
        let shown = before.iter().map(|it| match it.counts {
            Truth::True => it.id.to_string(),
            Truth::False | Truth::Unknown => format!("maybe {}", it.id),
        });
        let unseen = self.evaluator.unseen_before(concurrent, self.session, self.unseen);
        let record = |(record, why): &(Record, &str)| match &record.id {
            Some(id) => format!("maybe {id} (not evaluated: {why})"),
            None => format!("maybe a record that was not evaluated ({why})"),
        };
        let not_listed = self.unseen.is_incomplete.then(|| "maybe sessions not listed".into());
        let shown: Vec<_> = shown.chain(unseen.into_iter().map(record)).chain(not_listed).collect();
        if shown.is_empty() {
            "before it: none".into()
        } else {
            format!("before it: {}", shown.join(", "))
        }
    }
}

/// The field that is tested, as AWS returned it, or what the policy assumes of it.
fn value(test: &Test, subject: Subject<'_>) -> String {
    let returned = |returned: Option<&str>, assumed: Option<&str>| match (returned, assumed) {
        (Some(value), _) => value.to_owned(),
        (None, Some(value)) => format!("{value} (assumed)"),
        (None, None) => "not returned".into(),
    };
    let Subject { session, .. } = subject;
    match test {
        Test::AccessType(_) => returned(session.access_type.as_deref(), subject.access_type()),
        Test::Account(_) => subject.scope().map_or("not known".into(), |it| it.account.clone()),
        Test::Region(_) => subject.scope().map_or("not known".into(), |it| it.region.clone()),
        Test::SessionType(_) => match subject.session_type() {
            Ok(it) => it.name().into(),
            Err(why) => why.name().into(),
        },
        Test::Document(_) => returned(session.document.as_deref(), subject.document()),
        Test::Owner(_) => short_owner(&session.owner),
        Test::Reason(_) => {
            returned(session.reason.as_deref(), subject.reason().map(|it| it.unwrap_or("none")))
        }
        Test::Status(_) => returned(session.status.as_deref(), None),
        Test::Target(_) => session.target.to_string(),
        Test::TargetTag(key, _) => match subject.tags() {
            Ok(tags) => match tags.get(key) {
                Some(value) => format!("{key}={value}"),
                None => format!("no tag {key}"),
            },
            Err(why) => why.name().into(),
        },
    }
}

/// The tags, or why they are not known.
pub(crate) fn shown(tags: &Tags) -> String {
    match tags {
        Tags::Known(tags) if tags.is_empty() => "none".into(),
        Tags::Known(tags) => {
            tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        }
        Tags::Unknown(why) => format!("unknown ({})", why.name()),
    }
}

/// A verdict in words.
pub(crate) fn described(verdict: &Verdict) -> String {
    let mut words = verdict.name().to_owned();
    words.extend(verdict.unknown().map(|it| format!(" ({})", it.name())));
    let rules = printable(&verdict.rules().join(", "));
    if rules.is_empty() { words } else { format!("{words}: {rules}") }
}

#[cfg(test)]
mod tests {
    use reaper_core::{policy::Policy, session::Session};

    use super::*;

    /// Why a session has no place for certain, though no session stands before it.
    #[test]
    fn unseen() {
        let now = Timestamp::UNIX_EPOCH;
        let policy = "version: 1\nrules: [{ id: one, when: { document: A }, require: { concurrent: \
                      { per: owner, at_most: 1, keep: newest } } }]\n";
        let policy = Policy::parse(policy).expect("a valid policy");
        let evaluator = Evaluator::new(&policy, now);
        let owner = "arn:aws:sts::123456789012:assumed-role/dev/x";
        let session = Session {
            status: Some("Connected".into()),
            document: Some("A".into()),
            ..Session::new("x-1", owner, "i-0123456789abcdef0", now)
        };
        let it = evaluator.evaluate(Box::new(session), Tags::Unknown(Unknown::TagsNotLookedUp));
        let mut active = [it];
        let record = |id: Option<&str>, document: &str| Record {
            id: id.map(Into::into),
            document: Some(document.into()),
            ..Record::default()
        };
        let not_evaluated = [
            (record(Some("y-1"), "A"), "no Owner"),
            (record(None, "A"), "no SessionId"),
            (record(Some("z-1"), "B"), "no Owner"), // It is not in scope.
        ];
        let unseen = Unseen { is_incomplete: true, not_evaluated: &not_evaluated };
        evaluator.conclude(&mut active, unseen, || true);
        let text = Explanation::new(&evaluator, now, &active[0], &active, unseen).to_string();
        let seen = "before it: maybe y-1 (not evaluated: no Owner), maybe a record that was not \
                    evaluated (no SessionId), maybe sessions not listed";
        let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(one_line.contains(seen), "{text}");
        assert!(text.contains("verdict: undetermined (concurrent_not_known): one"), "{text}");
    }

    /// The advice for a target of another kind leads out: with it, the session is a violation.
    #[test]
    fn advice_on_other_targets() {
        let now = Timestamp::UNIX_EPOCH;
        let session = Session::new(
            "x-1",
            "arn:aws:sts::123456789012:assumed-role/dev/x",
            "sagemaker-cluster:abc_workers-i-0123456789abcdef0",
            now,
        );
        let explain = |target: &str| {
            let text = format!(
                "version: 1\ntag_keys: [keep]\nrules: [{{ id: no, when: all, forbid: true }}]\n\
                 exemptions: [{{ id: e, when: {{ target_tags: {{ keep: x }}{target} }} }}]\n"
            );
            let policy = Policy::parse(&text).expect("a valid policy");
            let tags = Tags::Unknown(Unknown::TagsNoArn);
            let evaluator = Evaluator::new(&policy, now);
            let it = evaluator.evaluate(Box::new(session.clone()), tags);
            Explanation::new(&evaluator, now, &it, &[], Unseen::NOTHING).to_string()
        };
        let remedy = Unknown::TagsNoArn.remedy().expect("a remedy");
        let (_, advice) = remedy.split_once(": `").expect("a key to write");
        let key = format!(", {}", advice.trim_end_matches("`."));
        let without = explain("");
        assert!(without.contains("undetermined (tags_no_arn)"), "{without}");
        assert!(without.ends_with(remedy), "{without}");
        let with = explain(&key);
        assert!(with.ends_with("verdict: violation: no"), "{with}");
    }
}
