//! Reads conditions and requirements.

#![expect(clippy::wildcard_enum_match_arm, reason = "a node of any other type is an error")]

use std::str::FromStr;

use super::{
    grammar::{
        CONCURRENT, CONDITIONS, DOCUMENT_ARNS, DOCUMENTS, KEEP, MAX_COUNT, MAX_TAG_VALUE, PER,
        REGIONS, REQUIREMENTS, TARGETS,
    },
    hours::Hours,
    model::{ACCESS_TYPES, Concurrent, Condition, Requirement, STATUSES, Test},
    reader::{Reader, nearest},
    reason,
    yaml::{Node, Value},
};
use crate::{
    alphabet::{invisible, stray, too_long},
    pattern::{Glob, OwnerPattern},
    session_type::SessionType,
};

/// Reads the value of a key.
type Read<T> = fn(&mut Reader, &Node) -> Option<Vec<T>>;

fn one<T>(it: T) -> Vec<T> {
    vec![it]
}

impl Reader {
    pub(super) fn when(
        &mut self,
        what: &str,
        node: &Node,
        when: Option<&Node>,
    ) -> Option<Condition> {
        match when {
            Some(it) => self.condition("when", it),
            None => {
                self.fail(node, format!("{what} needs `when`; `when: all` means every session"))
            }
        }
    }

    pub(super) fn condition(&mut self, what: &str, node: &Node) -> Option<Condition> {
        match &node.value {
            Value::Text(it) if it == "all" => Some(Condition(Vec::new())),
            Value::Map(entries) if entries.is_empty() => {
                self.fail(node, format!("`{what}` is empty; write `{what}: all` for every session"))
            }
            Value::Map(_) => {
                let nodes = self.fields(&format!("`{what}`"), node, CONDITIONS)?;
                let read: [Read<Test>; _] = [
                    |it, node| it.owner(node).map(one),
                    |it, node| it.target(node).map(one),
                    Reader::target_tags,
                    |it, node| it.document(node).map(one),
                    |it, node| it.session_type(node).map(one),
                    |it, node| it.status(node).map(one),
                    |it, node| it.access_type(node).map(one),
                    |it, node| it.reason(node).map(one),
                    |it, node| it.account(node).map(one),
                    |it, node| it.region(node).map(one),
                ];
                self.each(read, nodes).map(Condition)
            }
            other => {
                let shown = self.shown(node, other);
                self.fail(node, format!("`{what}` must be `all` or conditions, not {shown}"))
            }
        }
    }

    pub(super) fn require(&mut self, node: &Node) -> Option<Vec<Requirement>> {
        if matches!(&node.value, Value::Map(it) if it.is_empty()) {
            return self
                .fail(node, "`require` is empty; write `forbid: true` if nothing is allowed");
        }
        let nodes = self.fields("`require`", node, REQUIREMENTS)?;
        let read: [Read<Requirement>; _] = [
            |it, node| it.max_age(node).map(one),
            |it, node| it.owner(node).map(Requirement::Test).map(one),
            |it, node| Some(it.target_tags(node)?.into_iter().map(Requirement::Test).collect()),
            |it, node| it.document(node).map(Requirement::Test).map(one),
            |it, node| it.session_type(node).map(Requirement::Test).map(one),
            |it, node| it.access_type(node).map(Requirement::Test).map(one),
            |it, node| it.reason(node).map(Requirement::Test).map(one),
            |it, node| it.hours(node).map(one),
            |it, node| it.concurrent(node).map(one),
        ];
        self.each(read, nodes)
    }

    /// Reads the keys that are there, each by its own function.
    fn each<T, const N: usize>(
        &mut self,
        read: [Read<T>; N],
        nodes: [Option<&Node>; N],
    ) -> Option<Vec<T>> {
        let nodes = read.into_iter().zip(nodes).filter_map(|(read, node)| Some((read, node?)));
        let values: Vec<_> = nodes.map(|(read, node)| read(self, node)).collect();
        let values: Option<Vec<_>> = values.into_iter().collect();
        values.map(|it| it.into_iter().flatten().collect())
    }

    fn access_type(&mut self, node: &Node) -> Option<Test> {
        self.one_of("access_type", node, &ACCESS_TYPES).map(Test::AccessType)
    }

    fn document(&mut self, node: &Node) -> Option<Test> {
        let globs = self.parsed("document", node, |text| {
            let is_arn = text.starts_with("arn:") || text.starts_with('*');
            match stray(text, if is_arn { &DOCUMENT_ARNS } else { &DOCUMENTS }) {
                _ if text.is_empty() => Err("an empty `document` matches no document".into()),
                Some(why) => Err(why),
                None => Ok(Glob::new(text)),
            }
        });
        globs.map(Test::Document)
    }

    fn reason(&mut self, node: &Node) -> Option<Test> {
        self.parsed("reason", node, reason::parse).map(Test::Reason)
    }

    fn session_type(&mut self, node: &Node) -> Option<Test> {
        let names = SessionType::ALL.map(SessionType::name);
        let names = self.one_of("session_type", node, &names)?;
        Some(Test::SessionType(names.into_iter().filter_map(SessionType::from_name).collect()))
    }

    fn account(&mut self, node: &Node) -> Option<Test> {
        let accounts = self.parsed("account", node, |text| {
            let is_account = text.len() == 12 && text.bytes().all(|it| it.is_ascii_digit());
            is_account.then(|| text.to_owned()).ok_or_else(|| {
                format!("an `account` has 12 digits, such as `\"111122223333\"`, not `{text}`")
            })
        });
        accounts.map(Test::Account)
    }

    fn region(&mut self, node: &Node) -> Option<Test> {
        let globs = self.parsed("region", node, |text| match stray(text, &REGIONS) {
            _ if text.is_empty() => Err("an empty `region` matches no Region".into()),
            Some(why) => Err(why),
            None if text.bytes().any(|it| it.is_ascii_uppercase()) => {
                let small = text.to_ascii_lowercase();
                Err(format!("`{text}` matches no Region, as none has capitals; write `{small}`"))
            }
            None => Ok(Glob::new(text)),
        });
        globs.map(Test::Region)
    }

    fn status(&mut self, node: &Node) -> Option<Test> {
        self.one_of("status", node, &STATUSES).map(Test::Status)
    }

    fn hours(&mut self, node: &Node) -> Option<Requirement> {
        self.parsed("hours", node, Hours::from_str).map(Requirement::Hours)
    }

    fn concurrent(&mut self, node: &Node) -> Option<Requirement> {
        let [per, at_most, keep] = self.fields("`concurrent`", node, CONCURRENT)?;
        let (Some(per), Some(at_most), Some(keep)) = (per, at_most, keep) else {
            let message = "`concurrent` needs `per`, `at_most` and `keep`, such as \
                           `concurrent: { per: owner, at_most: 2, keep: newest }`";
            return self.fail(node, message);
        };
        let per = self.word("per", per, &PER);
        let at_most = self.integer("at_most", at_most, 1..=MAX_COUNT);
        let keep = self.word("keep", keep, &KEEP);
        let index = self.n_concurrent;
        self.n_concurrent += 1;
        Some(Requirement::Concurrent(Concurrent {
            index,
            per: per?,
            at_most: at_most?,
            keep: keep?,
        }))
    }

    /// One of a few words, and what it means.
    pub(super) fn word<T: Copy>(
        &mut self,
        what: &str,
        node: &Node,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = if let Value::Text(text) = &node.value { text.as_str() } else { "" };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let names: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let shown = self.shown(node, &node.value);
        self.fail(node, format!("`{what}` is one of {}, not {shown}", names.join(", ")))
    }

    fn max_age(&mut self, node: &Node) -> Option<Requirement> {
        self.duration("max_age", node).map(Requirement::MaxAge)
    }

    fn owner(&mut self, node: &Node) -> Option<Test> {
        self.parsed("owner", node, OwnerPattern::from_str).map(Test::Owner)
    }

    fn target_tags(&mut self, node: &Node) -> Option<Vec<Test>> {
        let Value::Map(entries) = &node.value else {
            let shown = self.shown(node, &node.value);
            let message = format!("`target_tags` must be a mapping with tag keys, not {shown}");
            return self.fail(node, message);
        };
        if entries.is_empty() {
            return self.fail(node, "`target_tags` is empty; name a key, or leave it out");
        }
        self.no_duplicates(entries);
        let tags: Vec<_> = entries
            .iter()
            .map(|(key, values)| {
                if let Some(known) = self.tag_keys.as_ref().filter(|it| !it.contains(&key.value)) {
                    let message = if known.is_empty() {
                        format!("the tag key `{}` needs to stand in `tag_keys`", key.value)
                    } else {
                        let near = nearest(&key.value, known.iter().map(String::as_str));
                        format!("`{}` is not in `tag_keys`; {near}", key.value)
                    };
                    self.error(key.referenced, message);
                }
                let globs = self.parsed(&key.value, values, |text| {
                    let why = invisible(text, "write `?` if the tag has it")
                        .or_else(|| too_long(text, "tag", MAX_TAG_VALUE));
                    why.map_or_else(|| Ok(Glob::new(text)), Err)
                });
                Some(Test::TargetTag(key.value.clone(), globs?))
            })
            .collect();
        tags.into_iter().collect()
    }

    fn target(&mut self, node: &Node) -> Option<Test> {
        let globs = self.parsed("target", node, |text| match text {
            "" => Err("an empty `target` matches no target".into()),
            _ => stray(text, &TARGETS).map_or_else(|| Ok(Glob::new(text)), Err),
        });
        globs.map(Test::Target)
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::Policy;

    /// Each of these could match nothing that AWS has, or not what it seems to.
    #[test]
    fn patterns_that_match_nothing() {
        for (condition, message) in [
            ("{document: \"A\\n\"}", r"`A\u{a}` matches no document: it has a line end, which"),
            ("{document: Team/x}", "`Team/x` matches no document: it has `/`"),
            ("{document: 'arn:aws:ssm:*:document/{a}'}", "it has `{`"),
            ("{document: A–B}", "it has `–`"),
            ("{target: \"i-*\\n\"}", "matches no target: it has a line end"),
            ("{target: 'i-* '}", "it has white space"),
            ("{target: 'i-[0-9]*'}", "it has `[`"),
            ("{owner: \"root\\n\"}", "matches no owner: it has a line end"),
            ("{target_tags: {env: \"prod\\n\"}}", "has a line end, which `|-` and `>-` leave out"),
            ("{target_tags: {env: \"prod\\u200B\"}}", "has U+200B, which is invisible"),
            ("{target_tags: {env: [prod, \"a\\tb\"]}}", "has U+0009"),
            ("{reason: \"^INC\\n\"}", "has a line end"),
            ("{reason: \"\\u2060x\"}", r"write it as an escape such as `\x{200B}`"),
            (
                "{reason: '(?i)^störung'}",
                "`ö`, and `(?i)` is about ASCII letters only; write such letters in both cases, as `[Öö]`",
            ),
            ("{reason: 'STÖRUNG(?s-m:x)|(?mi:a)'}", "`Ö`, and"),
            (r"{reason: '(?i)st\x{f6}rung'}", "`ö`, and"),
            (r"{reason: '(?i)st\u00f6rung'}", "`ö`, and"),
            ("{region: EU-*}", "`EU-*` matches no Region, as none has capitals; write `eu-*`"),
            ("{region: [us-east-1, Us-west-2]}", "write `us-west-2`"),
            ("{access_type: \"Standard\\n\"}", "`access_type` is one of"),
            ("{status: \"Connected\\n\"}", "`status` is one of"),
            ("\"all\\n\"", "must be `all` or conditions"),
        ] {
            let text = format!(
                "version: 1\ntag_keys: [env]\nrules: [{{id: a, when: {condition}, forbid: true}}]\n"
            );
            let errors = Policy::parse(&text).expect_err(condition);
            assert!(errors.to_string().contains(message), "{condition}: {errors}");
            assert_eq!(errors.0.len(), 1, "{errors}");
        }
        let errors = Policy::parse("version: 1\ntag_keys: [\"env\\n\"]\n").expect_err("a key");
        assert!(errors.to_string().contains("a tag key must be plain"), "{errors}");
    }

    /// The longest texts that AWS has match, and a pattern on longer ones could match nothing: what is
    /// before and after the characters counts as well.
    #[test]
    fn patterns_longer_than_the_field() {
        for (condition, shortest, max, what) in [
            ("{document: '#'}", 0, 128, "document"),
            ("{document: '*#?*'}", 1, 128, "document"),
            ("{document: 'arn:aws:ssm:*:document/#'}", 22, 128, "document"),
            ("{target: '#*'}", 0, 400, "target"),
            ("{target_tags: {env: ['é?#*']}}", 2, 256, "tag"),
            ("{reason: '^#$'}", 0, 256, "reason"),
            ("{owner: 'role/#'}", 0, 64, "owner"),
            ("{owner: 'role/*#/jane'}", 0, 64, "owner"),
            ("{owner: 'role/sre/#*'}", 0, 64, "owner"),
            ("{owner: 'permission-set/Ops/#@x.org'}", 6, 64, "owner"),
            ("{owner: 'federated-user/#'}", 0, 64, "owner"),
            ("{owner: 'user/a/#'}", 0, 64, "owner"),
            ("{owner: 'user/#/a'}", 7, 256, "owner"),
            ("{owner: 'arn:aws:iam::*:user/#'}", 19, 256, "owner"),
        ] {
            let read = |n: usize| {
                let condition = condition.replace('#', &"x".repeat(n - shortest));
                Policy::parse(&format!(
                    "version: 1\ntag_keys: [env]\n\
                     rules: [{{id: a, when: {condition}, forbid: true}}]\n"
                ))
            };
            if let Err(errors) = read(max) {
                panic!("{condition}: {errors}");
            }
            let errors = read(max + 1).expect_err(condition);
            assert_eq!(errors.0.len(), 1, "{errors}");
            let (n, message) = (max + 1, &errors.0[0].message);
            let why = format!("of {n} characters matches no {what}, as AWS allows {max}: `");
            assert!(message.contains(&why), "{condition}: {message}");
        }
        let assumed =
            |n| Policy::parse(&format!("version: 1\nassume: {{document: {}}}", "x".repeat(n)));
        assert!(assumed(128).is_ok() && assumed(129).is_err());
        // What a longer expression finds may be short.
        let regex = format!("{}x", "x|".repeat(200));
        let policy =
            format!("version: 1\nrules: [{{id: a, when: {{reason: '{regex}'}}, forbid: true}}]\n");
        assert!(Policy::parse(&policy).is_ok());
    }

    /// None of these is a pattern that matches nothing.
    #[test]
    fn patterns_that_match_something() {
        for condition in [
            "{document: ['arn:aws:ssm:*:123456789012:document/Team-*', '*:document/x', A.b_c-?]}",
            "{target: ['ecs:prod_*', 'sagemaker-cluster:a_b-i-0*', 'mi-?']}",
            "{target_tags: {env: ['a b', 'é{}[]', '']}}",
            "{reason: ['(?i)just testing', '[Ss]t[Öö]rung', '(?i)障害|—', '(?P<i>ö)', 'ö(?-i:x)']}",
            r"{reason: ['(?i)\.', '\x{d6}', '\d{3}\.', '(?x) a | b']}",
        ] {
            let text = format!(
                "version: 1\ntag_keys: [env]\nrules: [{{id: a, when: {condition}, forbid: true}}]\n"
            );
            if let Err(errors) = Policy::parse(&text) {
                panic!("{condition}: {errors}");
            }
        }
    }
}
