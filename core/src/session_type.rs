//! What kind of session a document starts: a shell, a tunnel, a command.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use crate::target::Unknown;

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

/// The documents whose type is known by their name: AWS's own, which no other account can create
/// under these names, and the one of the preferences, which starts shells.
///
/// Source: Systems Manager User Guide, "Start a session" and "Session preferences", and
/// amazon-ssm-agent, whose plugins bear the types' names.
const KNOWN: [(&str, SessionType); 6] = [
    ("AWS-StartInteractiveCommand", SessionType::InteractiveCommands),
    ("AWS-StartNonInteractiveCommand", SessionType::NonInteractiveCommands),
    ("AWS-StartPortForwardingSession", SessionType::Port),
    ("AWS-StartPortForwardingSessionToRemoteHost", SessionType::Port),
    ("AWS-StartSSHSession", SessionType::Port),
    ("SSM-SessionManagerRunShell", SessionType::StandardStream),
];

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

    /// The type of a document.
    ///
    /// # Errors
    /// If it is not known, and why.
    pub fn of(&self, document: &str) -> Result<SessionType, Unknown> {
        let known = KNOWN.iter().find(|(name, _)| *name == document);
        match (known, self.0.get(document)) {
            (Some((_, session_type)), _) | (None, Some(Some(session_type))) => Ok(*session_type),
            (None, Some(None)) => Err(Unknown::SessionTypeNotKnown),
            (None, None) => Err(Unknown::SessionTypeNotLookedUp),
        }
    }
}
