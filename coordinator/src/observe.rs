//! For those who watch: what the state machine tells becomes metrics, traces, and what the dashboard shows.

mod activity;
mod metrics;
mod spans;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_proto::v1;
use lookbehind_telemetry::http;
use lookbehind_telemetry::traces::Traces;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::state::observation::{LostWorker, Observation, StepTimeline};
use crate::state::{JobState, UnixMillis};

use activity::Activity;
pub(crate) use activity::{ClusterEvent, ClusterEventKind};
pub(crate) use metrics::{Metrics, Refused};

/// Hears what happens. It never waits.
pub(crate) struct Observer {
    /// What Prometheus reads.
    pub(crate) metrics: Metrics,
    activity: Mutex<Activity>,
    traces: Traces,
    changes: watch::Sender<u64>,
    started: Instant,
    /// Milliseconds from the start to the state machine's last sign of life; [`NEVER`] before the first.
    beat: AtomicU64,
    /// Silence of the state machine after which the coordinator is not ready.
    silent: Duration,
}

/// No sign of life yet.
const NEVER: u64 = u64::MAX;
/// The coordinator ends.
const ENDING: u64 = u64::MAX - 1;
/// Least silence of the state machine after which the coordinator is not ready.
const SILENT: Duration = Duration::from_secs(10);

/// The time that the system tells; a clock that is before 1970 counts as 1970.
pub(crate) fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(since.as_millis() as u64)
}

/// What happens to connections of the HTTP server.
impl http::Observer for Observer {
    fn refused(&self) {
        self.metrics.refuse(Refused::Connections);
    }

    fn handshake_failed(&self) {
        self.metrics.handshakes_failed.inc();
    }
}

impl Observer {
    /// `tick` is the time between two signs of life of the state machine.
    pub(crate) fn new(registry: &mut Registry, traces: Traces, tick: Duration) -> Self {
        let (changes, _) = watch::channel(0);
        Self {
            metrics: Metrics::new(registry),
            activity: Mutex::default(),
            traces,
            changes,
            started: Instant::now(),
            beat: AtomicU64::new(NEVER),
            silent: SILENT.max(3 * tick),
        }
    }

    /// The state machine lives.
    pub(crate) fn beat(&self) {
        let now = self.started.elapsed().as_millis() as u64;
        let _ = self
            .beat
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |beat| (beat != ENDING).then_some(now));
    }

    /// The coordinator ends: it takes nothing new.
    pub(crate) fn ending(&self) {
        self.beat.store(ENDING, Ordering::Relaxed);
    }

    /// Why the coordinator cannot be used now, if it cannot.
    pub(crate) fn ready(&self) -> Result<(), String> {
        let beat = self.beat.load(Ordering::Relaxed);
        if beat == NEVER {
            return Err("the coordinator is starting".into());
        }
        if beat == ENDING {
            return Err("the coordinator is shutting down".into());
        }
        let silent = self.started.elapsed().saturating_sub(Duration::from_millis(beat));
        if silent > self.silent {
            return Err(format!("the state machine has given no sign of life for {} s", silent.as_secs()));
        }
        Ok(())
    }

    fn with_board<T>(&self, act: impl FnOnce(&mut Activity) -> T) -> T {
        act(&mut self.activity.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts the changes of what is shown, so that watchers know when to look.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Something has happened.
    pub(crate) fn note(&self, at: UnixMillis, observation: Observation) {
        match observation {
            Observation::WorkerJoined(session, worker) => {
                self.metrics.worker_joined(&worker, session);
                self.with_board(|activity| activity.joined(session, at));
                self.tell(
                    at,
                    ClusterEventKind::WorkerJoined,
                    format!("worker {worker} joined"),
                    &worker,
                    None,
                );
            }
            Observation::WorkerRefused(worker, reason) => {
                let text = format!("worker {worker:?} was not let in: {reason}");
                self.tell(at, ClusterEventKind::WorkerRefused, text, &worker, None);
            }
            Observation::WorkerLeaves(worker, job) => {
                self.tell(
                    at,
                    ClusterEventKind::WorkerLeft,
                    format!("worker {worker} leaves"),
                    &worker,
                    job.as_ref(),
                );
            }
            Observation::WorkerLost(lost) => self.worker_lost(at, &lost),
            Observation::JobNoted(job, text) => {
                self.tell(at, ClusterEventKind::Job, format!("job {job}: {text}"), "", Some(&job));
            }
            Observation::JobMoved(moved) => {
                self.metrics.job_moved(&moved);
                if moved.to.is_terminal() || moved.to == JobState::Paused {
                    self.with_board(|activity| activity.rests(&moved.job));
                }
            }
            Observation::StepDone { job, timeline, metrics, outer_steps } => {
                self.step_done(&job, *timeline, *metrics, outer_steps);
            }
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Remembers something in words; `worker` is empty where it concerns none.
    fn tell(&self, at: UnixMillis, kind: ClusterEventKind, text: String, worker: &str, job: Option<&JobId>) {
        let (worker, job) = (worker.to_owned(), job.map(JobId::to_string).unwrap_or_default());
        self.with_board(|activity| activity.record(ClusterEvent { at, kind, text, job, worker }));
    }

    fn worker_lost(&self, at: UnixMillis, lost: &LostWorker) {
        let LostWorker { session, worker, cause, job, draining } = lost;
        self.metrics.worker_gone(worker, *session);
        self.with_board(|activity| activity.left(*session));
        // One that said that it would leave is no loss.
        if !draining {
            self.metrics.worker_lost(cause);
            self.tell(
                at,
                ClusterEventKind::WorkerLost,
                format!("worker {worker} gone: {cause}"),
                worker,
                job.as_ref(),
            );
        }
    }

    fn step_done(&self, job: &JobId, timeline: StepTimeline, step: v1::OuterStepMetrics, outer_steps: u64) {
        self.metrics.step_done(job, &timeline, &step, outer_steps);
        if self.traces.enabled() {
            self.traces.emit(spans::outer_step(job, &timeline, &step, SystemTime::now()));
        }
        self.with_board(|activity| activity.step_done(job, timeline, step));
    }

    /// What happened of late, oldest first.
    pub(crate) fn events(&self) -> Vec<(u64, ClusterEvent)> {
        self.with_board(|activity| activity.events())
    }

    /// When a worker joined.
    pub(crate) fn joined_at(&self, session: SessionId) -> Option<UnixMillis> {
        self.with_board(|activity| activity.joined_at(session))
    }

    /// The newest outer step of a job, if it did any in this start of the coordinator.
    pub(crate) fn last_step(&self, job: &JobId) -> Option<v1::OuterStepMetrics> {
        self.with_board(|activity| activity.last_step(job))
    }

    /// The timelines of a job's newest outer steps, oldest first.
    pub(crate) fn timelines(&self, job: &JobId) -> Vec<Arc<StepTimeline>> {
        self.with_board(|activity| activity.timelines(job))
    }

    /// Sends what traces wait, within a limit.
    pub(crate) async fn shutdown(&self, limit: Duration) {
        self.traces.shutdown(limit).await;
    }
}
