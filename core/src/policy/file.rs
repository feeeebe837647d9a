//! The policy's text: from YAML to `Policy`, or to all that is wrong with it.

#![expect(clippy::wildcard_enum_match_arm, reason = "a node of any other type is an error")]

use std::{collections::HashSet, sync::Arc};

use jiff::SignedDuration;
use serde_saphyr::{Location, MessageFormatter, UserMessageFormatter};

use super::{
    error::{PolicyError, PolicyErrors},
    grammar::{
        ASSUME, CIRCUIT_BREAKER, DOCUMENTS, EFFECT, EXEMPTION, LIMITS, MAX_COUNT, MAX_TAG_KEY,
        POLICY, RULE,
    },
    model::{ACCESS_TYPES, Assume, Assumed, Demand, Effect, Exemption, Limits, Policy, Rule},
    reader::Reader,
    yaml::{self, Node, Value},
};
use crate::alphabet::invisible;

/// The longest policy, in bytes: eight times the longest parameter of Parameter Store.
const MAX_BYTES: usize = 1 << 16;

/// The most errors that are reported at once.
const MAX_ERRORS: usize = 100;

pub(super) fn parse(text: &str) -> Result<Policy, PolicyErrors> {
    let mut reader = Reader { text: text.to_owned(), ..Reader::default() };
    if MAX_BYTES < text.len() {
        let n = text.len();
        reader.error(Location::UNKNOWN, format!("a policy has at most {MAX_BYTES} bytes, not {n}"));
        return Err(PolicyErrors(reader.errors));
    }
    let policy = match yaml::parse(text) {
        Ok(node) => reader.policy(&node),
        Err(err) => {
            let at = err.location().unwrap_or(Location::UNKNOWN);
            let message = UserMessageFormatter.format_message(err.without_snippet());
            reader.error(at, message);
            None
        }
    };
    match policy {
        Some(policy) if reader.errors.is_empty() => Ok(policy),
        _ => {
            let mut errors = reader.errors;
            errors.sort_by_key(|it| (it.line, it.column));
            if let Some(n) = errors.len().checked_sub(MAX_ERRORS).filter(|it| 0 < *it) {
                errors.truncate(MAX_ERRORS);
                let message = format!("{n} more errors are not shown");
                errors.push(PolicyError { line: 0, column: 0, span: None, message });
            }
            Err(PolicyErrors(errors))
        }
    }
}

impl Reader {
    fn policy(&mut self, node: &Node) -> Option<Policy> {
        let [version, tag_keys, rules, exemptions, limits, warn_before, assume, paused] =
            self.fields("the policy", node, POLICY)?;
        match version {
            Some(it) => drop(self.integer("version", it, 1..=1)),
            None => self.error(node.referenced, "`version` is missing; write `version: 1`"),
        }
        let tag_keys = tag_keys.map_or(Some(Vec::new()), |it| self.tag_keys(it));
        self.tag_keys = tag_keys.as_ref().map(|it| it.iter().cloned().collect());
        // An empty list of rules can only mean what it says, unlike an empty list of owners.
        let rules = match rules.map(|it| &it.value) {
            Some(Value::List(items)) if items.is_empty() => Some(Vec::new()),
            _ => rules.map_or(Some(Vec::new()), |it| self.items("rules", it, Self::rule)),
        };
        let exemptions =
            exemptions.map_or(Some(Vec::new()), |it| self.items("exemptions", it, Self::exemption));
        let limits = limits.map_or(Some(Limits::default()), |it| self.limits(it));
        let warn_before = warn_before.map_or(Some(Vec::new()), |it| self.warn_before(it));
        let assume = assume.map_or(Some(Assume::default()), |it| self.assume(it));
        let paused = paused.map_or(Some(false), |it| self.boolean("paused", it));
        Some(Policy {
            tag_keys: tag_keys?,
            rules: rules?,
            exemptions: exemptions?,
            limits: limits?,
            warn_before: warn_before?,
            assume: assume?,
            paused: paused?,
        })
    }

    fn tag_keys(&mut self, node: &Node) -> Option<Vec<String>> {
        let mut keys: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        for item in self.list("tag_keys", node)? {
            let key = self.text("a tag key", item)?.to_owned();
            if let Some(why) = invisible(&key, "leave it out") {
                self.error(item.referenced, format!("a tag key must be plain: {why}"));
            } else if !(1..=MAX_TAG_KEY).contains(&key.chars().count()) {
                self.error(
                    item.referenced,
                    format!("a tag key has 1 to {MAX_TAG_KEY} characters, not `{key}`"),
                );
            } else if !seen.insert(key.clone()) {
                self.error(item.referenced, format!("the tag key `{key}` stands here twice"));
            }
            keys.push(key);
        }
        Some(keys)
    }

    fn rule(&mut self, node: &Node) -> Option<Rule> {
        let [id, description, when, unless, require, forbid, effect] =
            self.fields("a rule", node, RULE)?;
        let id = self.id("a rule", node, id);
        let description = description
            .map_or(Some(None), |it| self.text("`description`", it).map(|it| Some(it.to_owned())));
        let when = self.when("a rule", node, when);
        let unless = unless.map_or(Some(None), |it| self.condition("unless", it).map(Some));
        let demand = match (require, forbid) {
            (Some(it), None) => self.require(it).map(Demand::Require),
            (None, Some(it)) => match self.boolean("forbid", it) {
                Some(true) => Some(Demand::Forbid),
                Some(false) => {
                    self.fail(it, "`forbid` can only be `true`; leave the rule out instead")
                }
                None => None,
            },
            (Some(_), Some(it)) => {
                self.fail(it, "a rule has `require` or `forbid: true`, not both; make it two rules")
            }
            (None, None) => self.fail(node, "a rule needs `require` or `forbid: true`"),
        };
        let effect = effect.map_or(Some(Effect::default()), |it| self.word("effect", it, &EFFECT));
        Some(Rule {
            id: id?,
            description: description?,
            when: when?,
            unless: unless?,
            demand: demand?,
            effect: effect?,
        })
    }

    fn exemption(&mut self, node: &Node) -> Option<Exemption> {
        let [id, description, when, until] = self.fields("an exemption", node, EXEMPTION)?;
        let id = self.id("an exemption", node, id);
        let description = description
            .map_or(Some(None), |it| self.text("`description`", it).map(|it| Some(it.to_owned())));
        let when = self.when("an exemption", node, when);
        let until = until.map_or(Some(None), |it| self.instant("until", it).map(Some));
        Some(Exemption { id: id?, description: description?, when: when?, until: until? })
    }

    fn id(&mut self, what: &str, node: &Node, id: Option<&Node>) -> Option<Arc<str>> {
        let Some(at) = id else {
            return self.fail(node, format!("{what} needs an `id`, by which reports name it"));
        };
        let text = self.text("`id`", at)?;
        let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
        if !(1..=64).contains(&text.len()) || !text.bytes().all(is_plain) {
            let rule = "1 to 64 letters, digits, `-`, `_` or `.`";
            return self.fail(at, format!("an `id` has {rule}, not `{text}`"));
        }
        let id: Arc<str> = text.into();
        if !self.ids.insert(Arc::clone(&id)) {
            return self
                .fail(at, format!("the id `{text}` is taken; rules and exemptions share them"));
        }
        Some(id)
    }

    fn limits(&mut self, node: &Node) -> Option<Limits> {
        let default = Limits::default();
        let [max, circuit_breaker] = self.fields("`limits`", node, LIMITS)?;
        let max_terminations = max.map_or(Some(default.max_terminations), |it| {
            self.integer("max_terminations", it, 1..=MAX_COUNT)
        });
        let (mut percent, mut min_violations) = (None, None);
        if let Some(node) = circuit_breaker {
            [percent, min_violations] = self.fields("`circuit_breaker`", node, CIRCUIT_BREAKER)?;
        }
        let max_percent = percent
            .map_or(Some(default.max_percent), |it| self.integer("max_percent", it, 0..=100));
        let min_violations = min_violations.map_or(Some(default.min_violations), |it| {
            self.integer("min_violations", it, 1..=MAX_COUNT)
        });
        Some(Limits {
            max_terminations: max_terminations?,
            max_percent: max_percent?,
            min_violations: min_violations?,
        })
    }

    fn warn_before(&mut self, node: &Node) -> Option<Vec<SignedDuration>> {
        let mut durations = Vec::new();
        for item in self.list("warn_before", node)? {
            let duration = self.duration("warn_before", item)?;
            if durations.contains(&duration) {
                self.error(item.referenced, format!("`{duration:#}` stands here twice"));
            }
            durations.push(duration);
        }
        durations.sort_unstable_by(|a, b| b.cmp(a));
        Some(durations)
    }

    fn assume(&mut self, node: &Node) -> Option<Assume> {
        let [tags, document, access_type, reason] = self.fields("`assume`", node, ASSUME)?;
        let as_none = |text: &str| (text == "none").then_some(());
        let as_name = |text: &str| DOCUMENTS.is_name(text).then(|| text.into());
        let known = |text: &str| ACCESS_TYPES.into_iter().find(|it| *it == text);
        let document_form = "the name of a document, such as `SSM-SessionManagerRunShell`,";
        let assume = (
            self.assumed("tags", "`none`", tags, as_none),
            self.assumed("document", document_form, document, as_name),
            self.assumed("access_type", "`Standard`, `JustInTime`", access_type, known),
            self.assumed("reason", "`none`", reason, as_none),
        );
        let (tags, document, access_type, reason) = (assume.0?, assume.1?, assume.2?, assume.3?);
        Some(Assume { access_type, document, reason, tags })
    }

    /// One key of `assume`: `unknown`, or what its field is assumed to be.
    fn assumed<T>(
        &mut self,
        what: &str,
        form: &str,
        node: Option<&Node>,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Assumed<T>> {
        let Some(node) = node else { return Some(Assumed::Unsaid) };
        match &node.value {
            Value::Text(text) if text == "unknown" => Some(Assumed::Unknown),
            Value::Text(text) if let Some(value) = read(text) => Some(Assumed::Is(value)),
            other => {
                let shown = self.shown(node, other);
                self.fail(node, format!("`{what}` must be {form} or `unknown`, not {shown}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::reader::{MAX_MESSAGE, MAX_NAMES};

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let errors = Policy::parse(text).expect_err(text);
        let actual: Vec<_> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(actual, expected, "{text}");
    }

    #[test]
    fn every_error_is_reported_with_its_place() {
        check(
            r#"version: 2
tag_keys: [env, env]
colour: red
rules:
  - id: a b
    when: { target_tag: { env: prod } }
    require: { max_age: 8 hours }
  - id: b
    when: { target_tags: { envv: prod }, owner: [alice, role/x] }
    require: { owner: [] }
  - id: b
    unless: {}
    forbid: false
  - when: everything
    require: {}
  - id: c
    when: all
    require: { max_age: 0s }
    forbid: true
exemptions:
  - id: d
    when: { target_tags: { env: true } }
    until: tomorrow
limits:
  max_terminations: 0
  circuit_breaker: 150%
assume: { tags: maybe }
paused: "yes"
"#,
            &[
                "line 1, column 10: `version` must be 1, not `2`",
                "line 2, column 17: the tag key `env` stands here twice",
                "line 3, column 1: the policy has no key `colour`; it has `version`, `tag_keys`, \
                 `rules`, `exemptions`, `limits`, `warn_before`, `assume`, `paused`",
                "line 5, column 9: an `id` has 1 to 64 letters, digits, `-`, `_` or `.`, not `a b`",
                "line 6, column 13: `when` has no key `target_tag`; did you mean `target_tags`?",
                "line 7, column 25: `max_age` must be a duration above zero such as `90s`, `30m`, \
                 `8h`, `1d` or `1h30m`, not `8 hours`",
                "line 9, column 28: `envv` is not in `tag_keys`; did you mean `env`?",
                "line 9, column 50: `alice` has no known form; an owner is `role/NAME`, \
                 `permission-set/NAME`, `user/NAME`, `federated-user/NAME`, `root`, or a whole `arn:…`",
                "line 10, column 23: `owner` is an empty list; fill it or leave it out",
                "line 11, column 5: a rule needs `when`; `when: all` means every session",
                "line 11, column 9: the id `b` is taken; rules and exemptions share them",
                "line 12, column 13: `unless` is empty; write `unless: all` for every session",
                "line 13, column 13: `forbid` can only be `true`; leave the rule out instead",
                "line 14, column 5: a rule needs an `id`, by which reports name it",
                "line 14, column 11: `when` must be `all` or conditions, not `everything`",
                "line 15, column 14: `require` is empty; write `forbid: true` if nothing is allowed",
                "line 19, column 13: a rule has `require` or `forbid: true`, not both; make it two rules",
                "line 22, column 33: `env` must be a text, not `true`; put it in quotes",
                "line 23, column 12: `until` must be an instant such as `2027-06-30T00:00:00Z`, \
                 not `tomorrow`",
                "line 25, column 21: `max_terminations` must be a number from 1 to 1000000, not `0`",
                "line 26, column 20: `circuit_breaker` must be a mapping with `max_percent`, `min_violations`, not `150%`",
                "line 27, column 17: `tags` must be `none` or `unknown`, not `maybe`",
                "line 28, column 9: `paused` must be `true` or `false`, not `yes`",
            ],
        );
    }

    /// No policy makes more, or longer, errors than can be read.
    #[test]
    fn errors_are_bounded() {
        let errors = Policy::parse(&"x".repeat(MAX_BYTES + 1)).expect_err("too long").to_string();
        assert_eq!(errors, "a policy has at most 65536 bytes, not 65537");
        let longest = format!("version: 1\n#{}", "x".repeat(MAX_BYTES - 12));
        assert_eq!(longest.len(), MAX_BYTES);
        assert!(Policy::parse(&longest).is_ok());
        let text = format!("rules:\n{}", "  - {}\n".repeat(33));
        assert_eq!(Policy::parse(&text).expect_err("1 + 3 * 33 errors").0.len(), MAX_ERRORS);
        let rules = "  - {}\n".repeat(60);
        let errors = Policy::parse(&format!("version: 1\nrules:\n{rules}")).expect_err("errors").0;
        assert_eq!(errors.len(), MAX_ERRORS + 1);
        let last = errors.last().map(ToString::to_string);
        assert_eq!(last.as_deref(), Some("80 more errors are not shown"));
        let long = format!("version: 1\npaused: {}\n", "x".repeat(1_000));
        let message = &Policy::parse(&long).expect_err("an error").0[0].message;
        assert_eq!(message.chars().count(), MAX_MESSAGE + 1);
    }

    #[test]
    fn an_error_points_at_its_text() {
        let text = "version: 1\nrules:\n  - id: é\n    when: all\n    forbid: \"no\" # Or?\n";
        let errors = Policy::parse(text).expect_err(text).0;
        let places: Vec<_> =
            errors.iter().map(|it| &text[it.span.clone().expect("bytes")]).collect();
        assert_eq!(places, ["é", "\"no\""]);
    }

    /// A typo is told by its distance, and all names only where they are few.
    #[test]
    fn typos() {
        check(
            "version: 1\nexemtion: []\n",
            &["line 2, column 1: the policy has no key `exemtion`; did you mean `exemptions`?"],
        );
        for (n, expected) in [
            (MAX_NAMES, "line 3, column 41: `x` is not in `tag_keys`; it has `key-0`, `key-1`, "),
            (MAX_NAMES + 1, "line 3, column 41: `x` is not in `tag_keys`; look for a typo"),
        ] {
            let keys: Vec<_> = (0..n).map(|it| format!("key-{it}")).collect();
            let rule = "{ id: a, when: { target_tags: { x: y } }, forbid: true }";
            let text = format!("version: 1\ntag_keys: [{}]\nrules: [{rule}]\n", keys.join(", "));
            let message = Policy::parse(&text).expect_err("a typo").to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn what_is_no_policy_is_an_error() {
        for (text, message) in [
            ("", "the policy must be a mapping with `version`, `tag_keys`, "),
            ("[]", "not a list"),
            ("{}", "`version` is missing"),
            ("version: 1\nversion: 1\n", "line 2, column 1: the key `version` stands here twice"),
            (
                "version: 1\ntag_keys: [e]\nrules: [{id: a, when: {target_tags: {e: x, e: y}}, forbid: true}]\n",
                "line 3, column 44: the key `e` stands here twice",
            ),
            (
                "base: &b {id: a}\nversion: 1\nrules: [{<<: *b, when: all, forbid: true}]\n",
                "no key `<<`",
            ),
            ("version: 1\n---\nversion: 1\n", "document"),
            ("version: 1\nrules: [\n", "line 2, column 8: unclosed bracket '['"),
            ("version: 1\nrules: null\n", "`rules` must be a list, not nothing"),
            ("version: 1\nexemptions: []\n", "`exemptions` is an empty list"),
            ("version: 18446744073709551615\n", "not `18446744073709551615`"),
            ("version: 1.0\n", "`version` must be 1, not `1.0`"),
            (
                "version: 1\nrules: [{id: a, when: {document: ''}, forbid: true}]\n",
                "an empty `document`",
            ),
            (
                "version: 1\nrules: [{id: a, when: {document: A B}, forbid: true}]\n",
                "it has white space",
            ),
            ("version: 1\nrules: [{id: a, when: !not {owner: root}, forbid: true}]\n", "line 2"),
            (
                "version: 1\nrules: [{id: a, when: {target: ''}, forbid: true}]\n",
                "matches no target",
            ),
            ("version: 1\nlimits: {max_terminations: 1_0}\n", "not `1_0`"),
            ("version: 1\ntag_keys: {env}\n", "`tag_keys` must be a list, not a mapping"),
            ("version: 1\nrules: [{id: a, when: all}]\n", "needs `require` or `forbid: true`"),
            (
                "version: 1\nrules: [{id: a, when: {target_tags: {env: x}}, forbid: true}]\n",
                "tag_keys",
            ),
        ] {
            let errors = Policy::parse(text).expect_err(text).to_string();
            assert!(errors.contains(message), "{text:?}: {errors}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        for text in ["version: 1\n", "{\"version\": 1, \"rules\": []}"] {
            let policy = Policy::parse(text).expect(text);
            assert_eq!(
                policy.limits,
                Limits { max_terminations: 50, max_percent: 50, min_violations: 10 }
            );
            assert_eq!((policy.assume, policy.paused), (Assume::default(), false));
        }
    }

    #[test]
    fn the_whole_grammar_is_read() {
        let policy = Policy::parse(
            r#"
version: 1
tag_keys: [env, team, "reaper:exempt"]
rules:
  - id: production
    description: Shells on production are short.
    when: { target_tags: { env: [prod, "prod-*"], team: payments }, target: "i-*" }
    unless: { owner: "role/batch-*" }
    require:
      max_age: 1h30m
      owner: [role/sre-*, permission-set/Ops/jane, user/jane]
      target_tags: { team: "?*" }
      document: [SSM-*, A_b.c?]
      access_type: JustInTime
      reason: ^INC
      hours: ["Mon-Fri 08:00-18:30 Europe/Berlin", "Sat 00:00-24:00 UTC"]
  - id: lab
    when: { target: [mi-*, "ecs:lab_*"], document: "*", status: [Connected, Failed] }
    forbid: true
  - id: every-session
    when: all
    unless: { access_type: [Standard, JustInTime], reason: [a, b] }
    require: { max_age: 1d, concurrent: { per: owner_and_target, at_most: 3, keep: oldest } }
    effect: warn
exemptions:
  - id: break-glass
    description: Two people know the password.
    when: { owner: [role/BreakGlass/x, root, "arn:aws:sts::*:federated-user/x", federated-user/y] }
    until: 2027-06-30T00:00:00Z
  - id: tagged
    when: { target_tags: { "reaper:exempt": "true" } }
limits:
  max_terminations: 7
  circuit_breaker: { max_percent: 20, min_violations: 3 }
assume: { tags: none, document: SSM-SessionManagerRunShell, access_type: Standard, reason: unknown }
paused: true
"#,
        );
        let policy = policy.expect("a valid policy");
        let mut lines = Vec::new();
        for Rule { id, description, when, unless, demand, effect } in &policy.rules {
            let description = description.as_deref().unwrap_or("-");
            lines.push(format!("{id}: {description} {effect:?}"));
            lines.extend(when.0.iter().map(|it| format!("  when {it}")));
            lines.extend(unless.iter().flat_map(|it| &it.0).map(|it| format!("  unless {it}")));
            match demand {
                Demand::Forbid => lines.push("  forbid".into()),
                Demand::Require(all) => {
                    lines.extend(all.iter().map(|it| format!("  require {it}")));
                }
            }
        }
        for Exemption { id, description, when, until } in &policy.exemptions {
            lines.push(format!("{id}: {}", description.as_deref().unwrap_or("-")));
            lines.extend(when.0.iter().map(|it| format!("  when {it}")));
            lines.extend(until.iter().map(|it| format!("  until {it}")));
        }
        let expected = [
            "production: Shells on production are short. Terminate",
            "  when target: i-*",
            "  when target_tags: env: prod, prod-*",
            "  when target_tags: team: payments",
            "  unless owner: role/batch-*",
            "  require max_age: 1h 30m",
            "  require owner: role/sre-*, permission-set/Ops/jane, user/jane",
            "  require target_tags: team: ?*",
            "  require document: SSM-*, A_b.c?",
            "  require access_type: JustInTime",
            "  require reason: ^INC",
            "  require hours: Mon-Fri 08:00-18:30 Europe/Berlin, Sat 00:00-24:00 UTC",
            "lab: - Terminate",
            "  when target: mi-*, ecs:lab_*",
            "  when document: *",
            "  when status: Connected, Failed",
            "  forbid",
            "every-session: - Warn",
            "  unless access_type: Standard, JustInTime",
            "  unless reason: a, b",
            "  require max_age: 24h",
            "  require concurrent: at most 3 per owner_and_target, keep the oldest",
            "break-glass: Two people know the password.",
            "  when owner: role/BreakGlass/x, root, arn:aws:sts::*:federated-user/x, federated-user/y",
            "  until 2027-06-30T00:00:00Z",
            "tagged: -",
            "  when target_tags: reaper:exempt: true",
        ];
        assert_eq!(lines, expected);
        assert_eq!(policy.tag_keys, ["env", "team", "reaper:exempt"]);
        assert_eq!(
            policy.limits,
            Limits { max_terminations: 7, max_percent: 20, min_violations: 3 }
        );
        let assume = Assume {
            access_type: Assumed::Is("Standard"),
            document: Assumed::Is("SSM-SessionManagerRunShell".into()),
            reason: Assumed::Unknown,
            tags: Assumed::Is(()),
        };
        assert_eq!((policy.assume, policy.paused), (assume, true));
    }
}
