//! The policy: rules, exemptions and limits, valid by construction. `Policy::parse` reads one.

mod changes;
mod conditions;
mod error;
mod file;
mod grammar;
mod holds;
mod hours;
mod identity;
mod lint;
mod model;
mod reader;
mod reason;
pub mod schema;
mod subject;
pub(crate) mod trace;
mod yaml;

use jiff::Timestamp;

pub use self::{
    error::{PolicyError, PolicyErrors},
    hours::Hours,
    identity::{PolicyIdentity, sha256},
    model::{
        Assume, Assumed, Concurrent, Condition, Demand, Effect, Exemption, Keep, Limits, Per,
        Policy, Requirement, Rule, Test,
    },
    subject::Subject,
    trace::{Item, Key, Part},
};
pub(crate) use self::{
    holds::RuleTruths,
    model::{ACCESS_TYPES, STATUSES},
    subject::Facts,
};

impl Policy {
    /// Parses a policy in YAML or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with the text, each error with its place.
    ///
    /// # Example
    ///
    /// ```
    /// use reaper_core::policy::Policy;
    ///
    /// let policy = "version: 1\nrules: [{ id: short, when: all, require: { max_age: 8h } }]";
    /// assert_eq!(Policy::parse(policy)?.rules.len(), 1);
    ///
    /// let errors = Policy::parse("version: 1\nrulse: []").expect_err("a misspelt key");
    /// assert_eq!(errors.0[0].line, 2);
    /// # Ok::<(), reaper_core::policy::PolicyErrors>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, PolicyErrors> {
        file::parse(text)
    }

    /// Whether a rule limits how many sessions are active at once.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.rules.iter().any(|it| it.concurrent().is_some())
    }

    /// Whether anything in it depends on the account or the Region.
    #[must_use]
    pub fn asks_scope(&self) -> bool {
        self.tests().any(|it| matches!(it, Test::Account(_) | Test::Region(_)))
    }

    /// Whether anything in it depends on the reason.
    #[must_use]
    pub fn asks_reason(&self) -> bool {
        self.tests().any(|it| matches!(it, Test::Reason(_)))
    }

    /// Whether anything in it depends on what kind of session a document starts.
    #[must_use]
    pub fn asks_session_type(&self) -> bool {
        self.tests().any(|it| matches!(it, Test::SessionType(_)))
    }

    /// The tests of all rules and exemptions.
    fn tests(&self) -> impl Iterator<Item = &Test> {
        let of_exemptions = self.exemptions.iter().flat_map(|it| &it.when.0);
        self.rules.iter().flat_map(Rule::tests).chain(of_exemptions)
    }

    /// What is valid, but probably a mistake.
    #[must_use]
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        lint::warnings(self, now)
    }
}
