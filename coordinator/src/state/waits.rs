//! What a job waits for, as a function of the state: why it does not start, or why no worker computes for it.

use std::collections::BTreeSet;
use std::fmt;
use std::mem::Discriminant;

use lookbehind_common::ids::{JobId, SessionId};

use super::Core;
use super::active::Phase;
use super::job::{Exclusion, Job};
use super::record::JobState;
use super::storage::StorageFailure;

/// Excluded workers that are named.
const NAMED: usize = 3;
/// Characters of the reason why a worker is excluded.
const REASON: usize = 200;

/// What a job waits for. As text it continues «waits for».
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// No worker is connected.
    AnyWorker,
    /// The connected workers cannot serve it, even if all of them were free.
    MoreWorkers {
        /// How many it needs.
        needed: usize,
        /// How many can serve it.
        able: usize,
        /// Those that cannot.
        excluded: Excluded,
    },
    /// All workers that can serve it have one identity.
    SecondIdentity,
    /// Other jobs have the workers.
    OtherJobs {
        /// How many it needs.
        needed: usize,
        /// How many of them are free.
        free: usize,
        /// The first of these jobs.
        job: JobId,
        /// How many more jobs there are.
        further: usize,
        /// Workers that cannot serve it.
        excluded: Excluded,
    },
    /// A job that is before it in the queue and waits for workers itself.
    Turn(JobId),
    /// Its user has as many active jobs as users may have.
    OwnJobs {
        /// How many that are.
        limit: usize,
    },
    /// Other jobs have the coordinator's memory.
    Memory {
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// Its results cannot be stored.
    Storage(StorageFailure),
    /// The coordinator is shutting down and starts no job.
    Restart,
}

/// Connected workers that cannot serve a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excluded {
    /// Why the first of them cannot, each with its name.
    pub reasons: Vec<String>,
    /// How many more there are.
    pub further: usize,
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reason) in self.reasons.iter().enumerate() {
            write!(f, "{} {reason}", if index == 0 { "; excluded:" } else { ";" })?;
        }
        if self.further > 0 { write!(f, "; and {} more", self.further) } else { Ok(()) }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyWorker => f.write_str("a worker: none is connected"),
            Self::MoreWorkers { needed, able, excluded } => {
                write!(f, "workers: it needs {needed}, and {able} of those connected can serve it{excluded}")
            }
            Self::SecondIdentity => f.write_str("a worker of a second identity (resources.verify)"),
            Self::OtherJobs { needed, free, job, further, excluded } => {
                write!(f, "workers: it needs {needed}, and {free} are free; others serve job {job}")?;
                if *further > 0 {
                    write!(f, " and {further} more")?;
                }
                write!(f, "{excluded}")
            }
            Self::Turn(job) => write!(f, "job {job}, which is before it in the queue and waits for workers"),
            Self::OwnJobs { limit } => {
                write!(
                    f,
                    "the end of another job of its user, who has as many active ones as allowed ({limit})"
                )
            }
            Self::Memory { needed, left } => {
                write!(f, "memory of the coordinator: it needs {needed} bytes, and {left} are left")
            }
            Self::Storage(failure) => write!(f, "the disk: {failure}"),
            Self::Restart => f.write_str("a restart of the coordinator, which is shutting down"),
        }
    }
}

/// What is common to the waits of all jobs.
pub(super) struct Waits<'a> {
    core: &'a Core,
    /// Workers that are connected and are not about to leave.
    connected: usize,
    /// The job in the queue that holds back those after it.
    holds_back: Option<&'a Job>,
    /// Users who have as many active jobs as users may have.
    busy: BTreeSet<&'a str>,
}

impl Core {
    /// For asking what jobs wait for.
    pub(super) fn waits(&self) -> Waits<'_> {
        let connected = self.cluster.workers.iter().filter(|(_, worker)| !worker.draining).count();
        let holds_back = self.queue().into_iter().find(|job| self.holds_back(job));
        Waits { core: self, connected, holds_back, busy: self.busy_users() }
    }

    /// Logs what jobs wait for, where it is of another kind than before.
    pub(super) fn tell_waits(&mut self) {
        let waits = self.waits();
        let kind = |wait: &Option<Wait>| wait.as_ref().map(std::mem::discriminant);
        let now = self.jobs.values().map(|job| (job, waits.of(job)));
        let changed: Vec<(JobId, Option<Wait>)> = now
            .filter(|(job, wait)| kind(wait) != job.told_wait)
            .map(|(job, wait)| (job.id().clone(), wait))
            .collect();
        for (id, wait) in changed {
            if let Some(wait) = &wait {
                tracing::info!(job = %id, "job waits for {wait}");
            }
            if let Some(job) = self.jobs.get_mut(&id) {
                job.told_wait = kind(&wait);
            }
        }
    }
}

/// The kind of a wait.
pub(crate) type WaitKind = Discriminant<Wait>;

impl Waits<'_> {
    /// What a job waits for; `None` if it has ended, is paused, or waits for nothing.
    pub(super) fn of(&self, job: &Job) -> Option<Wait> {
        match (job.record.state, &job.active) {
            (JobState::Queued, _) => self.of_queued(job),
            (JobState::Preparing | JobState::Running, Some(active)) if active.members.is_empty() => {
                self.lack(job, 1).or_else(|| self.others(job, 1))
            }
            (JobState::Running, Some(active)) => match active.training()?.phase {
                Phase::AwaitingSecond(..) => Some(Wait::SecondIdentity),
                // Its notice of this cannot be stored either, where the disk fails altogether.
                Phase::AwaitingStorage(..) => self.core.cluster.storage_failure.clone().map(Wait::Storage),
                _ => None,
            },
            _ => None,
        }
    }

    fn of_queued(&self, job: &Job) -> Option<Wait> {
        if self.core.cluster.stopping {
            return Some(Wait::Restart);
        }
        let needed = job.spec.resources.min_workers as usize;
        if let Some(lack) = self.lack(job, needed) {
            return Some(lack);
        }
        if let Some((needed, left)) = self.core.lacks_memory(job) {
            return Some(Wait::Memory { needed, left });
        }
        if let Some(limit) = self.core.cluster.config.sharing.max_active_jobs
            && self.busy.contains(job.record.owner.as_str())
        {
            return Some(Wait::OwnJobs { limit });
        }
        match self.holds_back {
            Some(first) if self.core.place_in_queue(first) < self.core.place_in_queue(job) => {
                Some(Wait::Turn(first.id().clone()))
            }
            _ => self.others(job, needed),
        }
    }

    /// What a job would lack if all workers were free.
    fn lack(&self, job: &Job, needed: usize) -> Option<Wait> {
        if self.connected == 0 {
            return Some(Wait::AnyWorker);
        }
        let refuses_nobody = job.excluded.is_empty() && job.standings.is_empty();
        if refuses_nobody && job.spec.resources.verify == 0 && needed <= self.connected {
            return None;
        }
        let able: Vec<SessionId> = self.core.able(job);
        if able.len() < needed {
            let excluded = self.excluded(job, &able);
            return Some(Wait::MoreWorkers { needed, able: able.len(), excluded });
        }
        (!self.core.cluster.can_verify(job, able)).then_some(Wait::SecondIdentity)
    }

    /// The workers that are not among those that are able to serve a job.
    fn excluded(&self, job: &Job, able: &[SessionId]) -> Excluded {
        let connected = self.core.cluster.workers.iter().filter(|(_, worker)| !worker.draining);
        let all: Vec<String> = connected
            .filter(|(session, _)| !able.contains(session))
            .map(|(session, worker)| match job.excluded.get(&session) {
                Some(Exclusion { reason, .. }) => {
                    let reason: String = reason.chars().take(REASON).collect();
                    format!("worker {}: {reason}", worker.name)
                }
                None => {
                    format!("worker {}: its earlier sessions failed; it is tried again later", worker.name)
                }
            })
            .collect();
        let further = all.len().saturating_sub(NAMED);
        Excluded { reasons: all.into_iter().take(NAMED).collect(), further }
    }

    /// The jobs whose workers a job could have; `None` if enough are free.
    fn others(&self, job: &Job, needed: usize) -> Option<Wait> {
        let Core { cluster, .. } = self.core;
        let able = self.core.able(job);
        let free = able.iter().filter(|session| cluster.serves(**session).is_none()).count();
        let mut jobs: Vec<&JobId> = able.iter().filter_map(|session| cluster.serves(*session)).collect();
        jobs.sort_unstable();
        jobs.dedup();
        let (first, further) = jobs.split_first()?;
        (free < needed || job.spec.resources.verify > 0).then(|| Wait::OtherJobs {
            needed,
            free,
            job: (*first).clone(),
            further: further.len(),
            excluded: self.excluded(job, &able),
        })
    }
}

#[cfg(test)]
mod tests;
