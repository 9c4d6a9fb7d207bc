//! The registered workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::{JobId, SessionId};

use crate::state::event::Registration;

/// One registered worker.
#[derive(Debug)]
pub(crate) struct Worker {
    /// How it introduced itself.
    pub(crate) registration: Registration,
    /// Its name, for those who watch.
    pub(crate) name: Arc<str>,
    /// When it last gave a sign of life.
    pub(crate) last_seen: Duration,
    /// The progress that it reported last, and when that rose.
    pub(crate) progress: u64,
    pub(crate) advanced: Duration,
    /// The job that it serves.
    pub(crate) job: Option<JobId>,
    /// Whether it takes no more work.
    pub(crate) draining: bool,
}

/// All of them, in the order of their registration.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    table: BTreeMap<SessionId, Worker>,
    registered: u64,
}

impl Workers {
    /// Takes a worker in.
    pub(crate) fn add(&mut self, registration: Registration, now: Duration) -> SessionId {
        self.registered += 1;
        let session = SessionId(self.registered);
        let name = Arc::from(registration.name.as_str());
        let worker = Worker {
            registration,
            name,
            last_seen: now,
            progress: 0,
            advanced: now,
            job: None,
            draining: false,
        };
        self.table.insert(session, worker);
        session
    }

    /// Notes a sign of life of a registered worker.
    pub(crate) fn note_heard(&mut self, session: SessionId, now: Duration) {
        if let Some(worker) = self.table.get_mut(&session) {
            worker.last_seen = now;
        }
    }

    /// Notes how far a worker says that it is.
    pub(crate) fn note_progress(&mut self, session: SessionId, progress: u64, now: Duration) {
        if let Some(worker) = self.table.get_mut(&session)
            && progress > worker.progress
        {
            worker.progress = progress;
            worker.advanced = now;
        }
    }

    /// Forgets a worker and returns what was known of it.
    pub(crate) fn remove(&mut self, session: SessionId) -> Option<Worker> {
        self.table.remove(&session)
    }

    pub(crate) fn get(&self, session: SessionId) -> Option<&Worker> {
        self.table.get(&session)
    }

    pub(crate) fn get_mut(&mut self, session: SessionId) -> Option<&mut Worker> {
        self.table.get_mut(&session)
    }

    /// The worker's name, or its session where it is gone.
    pub(crate) fn name(&self, session: SessionId) -> String {
        self.get(session)
            .map_or_else(|| format!("session {session}"), |worker| worker.registration.name.clone())
    }

    /// The same, shared.
    pub(crate) fn shared_name(&self, session: SessionId) -> Arc<str> {
        self.get(session)
            .map_or_else(|| Arc::from(format!("session {session}")), |worker| Arc::clone(&worker.name))
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, &Worker)> {
        self.table.iter().map(|(session, worker)| (*session, worker))
    }

    /// Workers that serve no job and take work.
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
