//! The registered workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::{JobId, SessionId, SessionSecret};

use crate::state::event::Registration;
use crate::state::exchange::Unreachable;

/// A registered worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) registration: Registration,
    /// The name in the registration, after the name in the credentials if that is another: so no worker can take the name of
    /// another identity's. Shared with observations.
    pub(crate) name: Arc<str>,
    /// Name in the credentials with which the session was opened; `None` without credentials.
    pub(crate) identity: Option<Arc<str>>,
    /// Secret of the session.
    pub(crate) secret: SessionSecret,
    /// When the last message or upload of it arrived.
    pub(crate) last_seen: Duration,
    /// The highest progress count that its heartbeats reported.
    pub(crate) progress: u64,
    /// When `progress` last rose: a worker may be alive and yet compute nothing.
    pub(crate) advanced: Duration,
    /// The job that it serves; `None` while it is free.
    pub(crate) job: Option<JobId>,
    /// Whether it has announced that it leaves: it gets no more requests.
    pub(crate) draining: bool,
}

fn full_name(registration: &Registration, identity: Option<&str>) -> Arc<str> {
    let name = registration.name.as_str();
    match identity {
        Some(identity) if identity != name => format!("{identity}/{name}").into(),
        Some(_) | None => name.into(),
    }
}

/// The registered workers, in the order of their registration.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    table: BTreeMap<SessionId, Worker>,
    registered: u64,
    /// Pairs of workers that cannot exchange with each other.
    pub(crate) unreachable: Unreachable,
}

impl Workers {
    /// Adds a worker under a new session.
    pub(crate) fn add(
        &mut self,
        registration: Registration,
        identity: Option<Arc<str>>,
        secret: SessionSecret,
        now: Duration,
    ) -> SessionId {
        self.registered += 1;
        let session = SessionId(self.registered);
        let name = full_name(&registration, identity.as_deref());
        let worker = Worker {
            registration,
            name,
            identity,
            secret,
            last_seen: now,
            progress: 0,
            advanced: now,
            job: None,
            draining: false,
        };
        self.table.insert(session, worker);
        session
    }

    /// Notes that something was received from a worker, if it is registered.
    pub(crate) fn note_heard(&mut self, session: SessionId, now: Duration) {
        if let Some(worker) = self.table.get_mut(&session) {
            worker.last_seen = now;
        }
    }

    /// Notes the progress count of a heartbeat.
    pub(crate) fn note_progress(&mut self, session: SessionId, progress: u64, now: Duration) {
        if let Some(worker) = self.table.get_mut(&session)
            && progress > worker.progress
        {
            worker.progress = progress;
            worker.advanced = now;
        }
    }

    /// Removes a worker and returns what was known of it; `None` if it is not registered any more.
    pub(crate) fn remove(&mut self, session: SessionId) -> Option<Worker> {
        self.unreachable.forget(session);
        self.table.remove(&session)
    }

    pub(crate) fn get(&self, session: SessionId) -> Option<&Worker> {
        self.table.get(&session)
    }

    pub(crate) fn get_mut(&mut self, session: SessionId) -> Option<&mut Worker> {
        self.table.get_mut(&session)
    }

    /// The worker's name, or its session if it is not registered any more.
    pub(crate) fn name(&self, session: SessionId) -> String {
        self.get(session).map_or_else(|| format!("session {session}"), |worker| worker.name.to_string())
    }

    /// [`Self::name`] as a shared string.
    pub(crate) fn shared_name(&self, session: SessionId) -> Arc<str> {
        self.get(session)
            .map_or_else(|| Arc::from(format!("session {session}")), |worker| Arc::clone(&worker.name))
    }

    /// Number of workers whose sessions were opened with this identity.
    pub(crate) fn with_identity(&self, identity: &str) -> usize {
        self.table.values().filter(|worker| worker.identity.as_deref() == Some(identity)).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, &Worker)> {
        self.table.iter().map(|(session, worker)| (*session, worker))
    }

    /// Workers that serve no job and are not about to leave.
    pub(crate) fn free(&self) -> impl Iterator<Item = SessionId> {
        self.iter().filter(|(_, worker)| worker.job.is_none() && !worker.draining).map(|(session, _)| session)
    }

    /// Workers that have been silent for longer than `limit`.
    pub(crate) fn silent(&self, now: Duration, limit: Duration) -> Vec<SessionId> {
        self.iter()
            .filter(|(_, worker)| now.saturating_sub(worker.last_seen) > limit)
            .map(|(session, _)| session)
            .collect()
    }
}
