//! What kind of session a document starts: a shell, a tunnel, a command.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use crate::{arn::Arn, target::Unknown};

/// `sessionType`, as the schema of session documents has it (Systems Manager User Guide, "Session
/// document schema").
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "&str")]
pub enum SessionType {
    /// A command that the user can type into.
    InteractiveCommands,
    /// A command that the user cannot type into.
    NonInteractiveCommands,
    /// A tunnel: port forwarding, also SSH's.
    Port,
    /// A shell.
    StandardStream,
}

impl SessionType {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::InteractiveCommands, Self::NonInteractiveCommands, Self::Port, Self::StandardStream];

    /// Its name, as documents and policies have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InteractiveCommands => "InteractiveCommands",
            Self::NonInteractiveCommands => "NonInteractiveCommands",
            Self::Port => "Port",
            Self::StandardStream => "Standard_Stream",
        }
    }

    /// The type with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

impl From<SessionType> for &str {
    fn from(session_type: SessionType) -> Self {
        session_type.name()
    }
}

/// The documents whose type is known by their name: AWS's own, because it reserves the prefixes `aws`
/// and `amazon` (API reference, `CreateDocument`), and the one of the preferences.
///
/// A document's `sessionType` is the name of the agent's plugin that serves its sessions
/// (amazon-ssm-agent, `agent/framework/docparser`).
const KNOWN: [(&str, SessionType); 7] = [
    // ECS Exec asks for this plugin (session-manager-plugin, issue 49).
    ("AmazonECS-ExecuteInteractiveCommand", SessionType::InteractiveCommands),
    // By its name: AWS does not publish its content. What users type into is of this type (User Guide,
    // "Restrict access to commands in a session").
    ("AWS-StartInteractiveCommand", SessionType::InteractiveCommands),
    // By its name: it is that of a plugin of the agent.
    ("AWS-StartNonInteractiveCommand", SessionType::NonInteractiveCommands),
    // A copy of its content has this type (amazon-ssm-agent, pull request 389).
    ("AWS-StartPortForwardingSession", SessionType::Port),
    // User Guide, "Starting a session (port forwarding to remote host)".
    ("AWS-StartPortForwardingSessionToRemoteHost", SessionType::Port),
    // Session Manager serves only as a tunnel for SSH (User Guide, "Starting a session (SSH)").
    ("AWS-StartSSHSession", SessionType::Port),
    // The account's own, but AWS requires this type of preferences (User Guide, "Create a Session
    // Manager preferences document").
    ("SSM-SessionManagerRunShell", SessionType::StandardStream),
];

/// The name of a document of AWS's own, whose ARN has no account.
fn name_in_aws_arn(document: &str) -> Option<&str> {
    let arn = Arn::parse(document).filter(|it| it.service == "ssm" && it.account.is_empty())?;
    arn.resource.strip_prefix("document/")
}

/// The types of documents, as far as they have been looked up.
#[derive(Clone, Debug, Default)]
pub struct DocumentTypes(BTreeMap<Arc<str>, Option<SessionType>>);

/// Those that are known by their name alone.
pub static KNOWN_BY_NAME: DocumentTypes = DocumentTypes(BTreeMap::new());

impl DocumentTypes {
    /// Adds what a look-up has found: `None` if it was denied, or the document could not be read.
    pub fn insert(&mut self, document: Arc<str>, session_type: Option<SessionType>) {
        self.0.insert(document, session_type);
    }

    /// Adds what other look-ups have found.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The type of a document.
    ///
    /// # Errors
    /// If it is not known, and why.
    pub fn of(&self, document: &str) -> Result<SessionType, Unknown> {
        let name = name_in_aws_arn(document).unwrap_or(document);
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        match (known, self.0.get(document)) {
            (Some((_, session_type)), _) | (None, Some(Some(session_type))) => Ok(*session_type),
            (None, Some(None)) => Err(Unknown::SessionTypeNotKnown),
            (None, None) => Err(Unknown::SessionTypeNotLookedUp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS's documents are known by name and by AWS's ARN. A document of another account is not, whatever
    /// its name.
    #[test]
    fn known_documents() {
        let port = Ok(SessionType::Port);
        let not_looked_up = Err(Unknown::SessionTypeNotLookedUp);
        for (document, expected) in [
            ("AWS-StartSSHSession", port),
            ("arn:aws:ssm:eu-west-1::document/AWS-StartSSHSession", port),
            ("AmazonECS-ExecuteInteractiveCommand", Ok(SessionType::InteractiveCommands)),
            ("arn:aws:ssm:eu-west-1:210987654321:document/AWS-StartSSHSession", not_looked_up),
            ("arn:aws:s3:eu-west-1::document/AWS-StartSSHSession", not_looked_up),
            ("AWS-StartSSHSession:1", not_looked_up),
            ("aws-startsshsession", not_looked_up),
            ("Team-AWS-StartSSHSession", not_looked_up),
        ] {
            assert_eq!(KNOWN_BY_NAME.of(document), expected, "{document}");
        }
    }
}
