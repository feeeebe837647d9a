//! What is read of a record. The rest takes no memory, whatever it is.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The fields that are read, by their paths. Those of `detail`, in which EventBridge wraps an event, are
/// those of the record.
const FIELDS: [&str; 15] = [
    "CloudTrailEvent",
    "awsRegion",
    "digestS3Object",
    "errorCode",
    "eventID",
    "eventName",
    "eventSource",
    "eventTime",
    "recipientAccountId",
    "requestParameters.documentName",
    "requestParameters.reason",
    "requestParameters.sessionId",
    "requestParameters.target",
    "responseElements.sessionId",
    "userIdentity.arn",
];

/// The fields of a record that are there and not `null`.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Texts(BTreeMap<&'static str, String>);

impl Texts {
    /// Reads an event that is a text.
    pub(super) fn parse(json: &str) -> serde_json::Result<Self> {
        let mut texts = Self::default();
        let mut json = serde_json::Deserializer::from_str(json);
        Node { path: "", texts: &mut texts }.deserialize(&mut json)?;
        json.end()?;
        Ok(texts)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// A text that is not empty.
    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str).filter(|it| !it.is_empty())
    }

    /// What is not a text is there, and empty.
    fn put(&mut self, path: &str, text: &str) {
        if let Some(known) = FIELDS.iter().find(|it| **it == path) {
            self.0.insert(known, text.into());
        }
    }
}

/// A value of a record.
pub(super) struct Node<'a> {
    pub(super) path: &'a str,
    pub(super) texts: &'a mut Texts,
}

impl Node<'_> {
    /// The path of a field of this object, if it may be read.
    fn child(&self, name: &str) -> Option<String> {
        let path = match self.path {
            "" | "detail" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        let leads = |it: &&str| {
            it.strip_prefix(&path).is_some_and(|it| it.is_empty() || it.starts_with('.'))
        };
        let is_detail = path == "detail" && self.path.is_empty();
        (is_detail || FIELDS.iter().any(leads)).then_some(path)
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.visit_str("")
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.visit_str("")
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.visit_str("")
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.visit_str("")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.texts.put(self.path, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        self.visit_str("")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            match self.child(&name) {
                Some(path) => {
                    fields.next_value_seed(Node { path: &path, texts: &mut *self.texts })?;
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        self.visit_str("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field may be of any kind, and nothing else is kept.
    #[test]
    fn fields_of_any_kind() {
        for (json, expected) in [
            ("1", ""),
            ("[{\"eventName\": \"a\"}]", ""),
            (r#"{"eventName": "a", "eventID": null, "other": {"eventName": "b"}}"#, "eventName=a"),
            (
                r#"{"eventID": 1, "eventTime": [[]], "errorCode": {"a": true}}"#,
                "errorCode= eventID= eventTime=",
            ),
            (
                r#"{"userIdentity": {"arn": "a", "sessionContext": {"arn": "b"}}}"#,
                "userIdentity.arn=a",
            ),
            (r#"{"userIdentity": "arn", "userIdentity.arn": "a"}"#, "userIdentity.arn=a"),
            (
                r#"{"detail-type": "x", "detail": {"eventName": "a", "detail": {"eventID": "b"}}}"#,
                "eventName=a",
            ),
        ] {
            let texts = Texts::parse(json).expect(json);
            let found: Vec<_> =
                texts.0.iter().map(|(path, text)| format!("{path}={text}")).collect();
            assert_eq!(found.join(" "), expected, "{json}");
        }
        assert!(Texts::parse("{} {}").is_err() && Texts::parse("").is_err());
    }
}
