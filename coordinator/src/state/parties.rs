//! Who counts as one: where workers vouch for something, and where they are held to account.

use std::collections::BTreeSet;
use std::sync::Arc;

use lookbehind_common::ids::SessionId;

use super::active::Active;
use super::workers::{Worker, Workers};

/// One voice: all sessions with the same name in their credentials. Whoever has one certificate can open many sessions,
/// so sessions must not be counted. Without credentials there is nothing else to count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Identity(Arc<str>),
    Session(SessionId),
}

/// What outlives a session and can be recognised in the next one: the name in the credentials, or without credentials
/// the name of the worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Account {
    Identity(Arc<str>),
    Name(Arc<str>),
}

impl Account {
    pub(crate) fn new(identity: Option<&Arc<str>>, name: &Arc<str>) -> Self {
        match identity {
            Some(identity) => Self::Identity(Arc::clone(identity)),
            None => Self::Name(Arc::clone(name)),
        }
    }
}

impl Worker {
    pub(crate) fn account(&self) -> Account {
        Account::new(self.identity.as_ref(), &self.name)
    }
}

impl Workers {
    /// The voice that a session belongs to.
    pub(crate) fn party(&self, session: SessionId) -> Party {
        match self.get(session).and_then(|worker| worker.identity.as_ref()) {
            Some(identity) => Party::Identity(Arc::clone(identity)),
            None => Party::Session(session),
        }
    }

    /// The voices of some sessions.
    pub(crate) fn parties(&self, sessions: impl IntoIterator<Item = SessionId>) -> BTreeSet<Party> {
        sessions.into_iter().map(|session| self.party(session)).collect()
    }
}

impl Active {
    /// Sessions of the workers that have loaded the job.
    pub(super) fn prepared(&self) -> impl Iterator<Item = SessionId> {
        self.members.iter().filter(|(_, member)| member.prepared).map(|(session, _)| *session)
    }
}
