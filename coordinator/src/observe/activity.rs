//! Content of the dashboard in addition to jobs and workers. It is kept in memory, bounded, and lost when the process
//! ends.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_proto::v1;

use crate::state::UnixMillis;
use crate::state::observation::{Fate, StepTimeline};

/// Cluster events about workers that are kept, and as many about jobs.
const EVENTS: usize = 100;
/// Timelines that are kept per job.
const TIMELINES: usize = 8;
/// How long a timeline with a lost or failed part stays visible.
const FAILED_STEP_SHOWN: Duration = Duration::from_secs(60);
/// Jobs whose activity is kept: the running ones, and those that ran last.
const JOBS: usize = 100;

/// Kind of a cluster event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClusterEventKind {
    WorkerJoined,
    WorkerLost,
    WorkerLeft,
    WorkerRefused,
    #[default]
    Job,
    /// Something about the coordinator itself.
    Coordinator,
}

/// A cluster event with its text.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterEvent {
    pub(crate) at: UnixMillis,
    pub(crate) kind: ClusterEventKind,
    pub(crate) text: String,
    /// The job concerned; empty if none.
    pub(crate) job: String,
    /// The worker concerned; empty if none.
    pub(crate) worker: String,
}

#[derive(Debug, Default)]
struct JobActivity {
    last: Option<v1::OuterStepMetrics>,
    timelines: VecDeque<Arc<StepTimeline>>,
    /// The newest outer step with a lost or failed part, and when it ended. On fast jobs it would otherwise disappear
    /// before it is seen.
    failed_step: Option<(Instant, Arc<StepTimeline>)>,
    /// Value of the change counter at the last change. The job with the lowest value is dropped first.
    last_change: u64,
    idle: bool,
}

#[derive(Debug, Default)]
pub(super) struct Activity {
    of_workers: VecDeque<(u64, ClusterEvent)>,
    of_jobs: VecDeque<(u64, ClusterEvent)>,
    recorded: u64,
    joined: BTreeMap<SessionId, UnixMillis>,
    jobs: HashMap<JobId, JobActivity>,
    changes: u64,
}

impl Activity {
    pub(super) fn record(&mut self, event: ClusterEvent) {
        self.recorded += 1;
        // Separate queues, so that events of many jobs do not displace those of workers.
        let of_jobs = event.kind == ClusterEventKind::Job;
        let events = if of_jobs { &mut self.of_jobs } else { &mut self.of_workers };
        if events.len() == EVENTS {
            events.pop_front();
        }
        events.push_back((self.recorded, event));
    }

    pub(super) fn events(&self) -> Vec<(u64, ClusterEvent)> {
        let mut all: Vec<_> = self.of_workers.iter().chain(&self.of_jobs).cloned().collect();
        all.sort_by_key(|(number, _)| *number);
        all
    }

    pub(super) fn joined(&mut self, session: SessionId, at: UnixMillis) {
        self.joined.insert(session, at);
    }

    pub(super) fn left(&mut self, session: SessionId) {
        self.joined.remove(&session);
    }

    pub(super) fn joined_at(&self, session: SessionId) -> Option<UnixMillis> {
        self.joined.get(&session).copied()
    }

    pub(super) fn step_done(&mut self, job: &JobId, timeline: StepTimeline, step: v1::OuterStepMetrics) {
        self.changes += 1;
        if !self.jobs.contains_key(job) && self.jobs.len() >= JOBS {
            self.remove_oldest();
        }
        let shown = self.jobs.entry(job.clone()).or_default();
        (shown.last_change, shown.idle) = (self.changes, false);
        shown.last = Some(step);
        if shown.timelines.len() == TIMELINES {
            shown.timelines.pop_front();
        }
        let timeline = Arc::new(timeline);
        if has_failed_part(&timeline) {
            shown.failed_step = Some((Instant::now(), Arc::clone(&timeline)));
        }
        shown.timelines.push_back(timeline);
    }

    /// The job is paused or over. Its activity is dropped before that of running jobs.
    pub(super) fn set_idle(&mut self, job: &JobId) {
        if let Some(shown) = self.jobs.get_mut(job) {
            shown.idle = true;
        }
    }

    /// The job was deleted.
    pub(super) fn delete(&mut self, job: &JobId) {
        self.jobs.remove(job);
    }

    fn remove_oldest(&mut self) {
        let oldest = self.jobs.iter().min_by_key(|(_, shown)| (!shown.idle, shown.last_change));
        if let Some(oldest) = oldest.map(|(job, _)| job.clone()) {
            self.jobs.remove(&oldest);
        }
    }

    pub(super) fn last_step(&self, job: &JobId) -> Option<v1::OuterStepMetrics> {
        self.jobs.get(job)?.last.clone()
    }

    pub(super) fn timelines(&self, job: &JobId) -> Vec<Arc<StepTimeline>> {
        let Some(shown) = self.jobs.get(job) else { return Vec::new() };
        let failed_step = shown.failed_step.as_ref().filter(|(since, _)| since.elapsed() < FAILED_STEP_SHOWN);
        let not_shown =
            |step: &&Arc<StepTimeline>| !shown.timelines.iter().any(|other| Arc::ptr_eq(step, other));
        failed_step
            .map(|(_, step)| step)
            .filter(not_shown)
            .into_iter()
            .chain(&shown.timelines)
            .cloned()
            .collect()
    }
}

/// Whether a part of an outer step was lost or failed.
fn has_failed_part(timeline: &StepTimeline) -> bool {
    let parts = timeline.requests.iter().flat_map(|request| &request.parts);
    parts.into_iter().any(|part| matches!(part.fate, Fate::Lost | Fate::Failed))
}

#[cfg(test)]
mod tests;
