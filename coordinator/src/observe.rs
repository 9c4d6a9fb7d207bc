//! Observation: turns what the state machine reports into metrics, traces and the content of the dashboard.

mod activity;
mod metrics;
mod spans;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_proto::v1;
use lookbehind_telemetry::http;
use lookbehind_telemetry::traces::Traces;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::state::observation::{LostWorker, Observation, StepTimeline};
use crate::state::{JobState, UnixMillis};
use crate::webhooks::{Source, WebhookConfig, WebhookError, Webhooks};

use activity::Activity;
pub(crate) use activity::{ClusterEvent, ClusterEventKind};
pub(crate) use metrics::{Metrics, Refused, WebhookCounts};

/// Receives the observations of the state machine. It never blocks.
pub(crate) struct Observer {
    /// The metrics that Prometheus scrapes.
    pub(crate) metrics: Metrics,
    activity: Mutex<Activity>,
    /// What operators are told at URLs of theirs, if they want it.
    webhooks: OnceLock<Webhooks>,
    traces: Traces,
    changes: watch::Sender<u64>,
    started: Instant,
    /// Time of the state machine's last sign of life, in milliseconds from the start; [`NEVER`] before the first.
    beat: AtomicU64,
    /// Without a sign of life of the state machine for this long, the coordinator counts as not ready.
    silent: Duration,
}

/// There has been no sign of life yet.
const NEVER: u64 = u64::MAX;
/// The coordinator is shutting down.
const ENDING: u64 = u64::MAX - 1;
/// Lower bound of the silence of the state machine after which the coordinator is not ready.
const SILENT: Duration = Duration::from_secs(10);

/// The present time of the system clock; a clock before 1970 counts as 1970.
pub(crate) fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(since.as_millis() as u64)
}

/// Counts refused connections and failed handshakes of the HTTP server.
impl http::Observer for Observer {
    fn refused(&self) {
        self.metrics.refuse(Refused::Connections);
    }

    fn handshake_failed(&self) {
        self.metrics.handshakes_failed.inc();
    }
}

impl Observer {
    /// `tick` is the interval between two signs of life of the state machine.
    pub(crate) fn new(registry: &mut Registry, traces: Traces, tick: Duration) -> Self {
        let (changes, _) = watch::channel(0);
        Self {
            metrics: Metrics::new(registry),
            activity: Mutex::default(),
            webhooks: OnceLock::new(),
            traces,
            changes,
            started: Instant::now(),
            beat: AtomicU64::new(NEVER),
            silent: SILENT.max(3 * tick),
        }
    }

    /// Sends webhooks from now on.
    ///
    /// # Errors
    /// If the secret cannot be used, or connections cannot be encrypted.
    pub(crate) fn send_webhooks(&self, config: &WebhookConfig, source: Source) -> Result<(), WebhookError> {
        let webhooks = Webhooks::start(config, source, self.metrics.webhooks.clone())?;
        // Called once, by the start; a second set of receivers would end here with its tasks.
        let _ = self.webhooks.set(webhooks);
        Ok(())
    }

    /// Notes that the coordinator has entered a degraded mode, with the reason, or has left it.
    pub(crate) fn degraded(&self, mode: &'static str, reason: Option<&str>) {
        if let Some(webhooks) = self.webhooks.get() {
            webhooks.degraded(unix_now(), mode, reason);
        }
    }

    /// Notes a sign of life of the state machine. Once the coordinator is shutting down, it has no effect.
    pub(crate) fn beat(&self) {
        let now = self.started.elapsed().as_millis() as u64;
        let _ = self
            .beat
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |beat| (beat != ENDING).then_some(now));
    }

    /// Notes that the coordinator is shutting down and accepts nothing new.
    pub(crate) fn ending(&self) {
        self.beat.store(ENDING, Ordering::Relaxed);
    }

    /// Whether the coordinator is ready, or the reason why not.
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
            return Err(format!("the state machine has not responded for {} s", silent.as_secs()));
        }
        Ok(())
    }

    fn with_board<T>(&self, act: impl FnOnce(&mut Activity) -> T) -> T {
        act(&mut self.activity.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A counter that changes with each observation, so that watchers know when to look again.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Processes an observation.
    pub(crate) fn note(&self, at: UnixMillis, observation: Observation) {
        if let Some(webhooks) = self.webhooks.get() {
            webhooks.note(at, &observation);
        }
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
                let text = format!("worker {worker:?} was refused: {reason}");
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
                    self.with_board(|activity| activity.set_idle(&moved.job));
                }
            }
            Observation::JobDeleted(job, state) => {
                self.metrics.job_deleted(&job, state);
                self.with_board(|activity| activity.delete(&job));
                self.tell(at, ClusterEventKind::Job, format!("job {job} was deleted"), "", Some(&job));
            }
            Observation::StepDone { job, timeline, metrics, outer_steps } => {
                self.step_done(&job, *timeline, *metrics, outer_steps);
            }
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Records a cluster event; `worker` is empty if it concerns no worker.
    fn tell(&self, at: UnixMillis, kind: ClusterEventKind, text: String, worker: &str, job: Option<&JobId>) {
        let (worker, job) = (worker.to_owned(), job.map(JobId::to_string).unwrap_or_default());
        self.with_board(|activity| activity.record(ClusterEvent { at, kind, text, job, worker }));
    }

    fn worker_lost(&self, at: UnixMillis, lost: &LostWorker) {
        let LostWorker { session, worker, cause, job, draining } = lost;
        self.metrics.worker_gone(worker, *session);
        self.with_board(|activity| activity.left(*session));
        // A worker that announced its departure does not count as lost.
        if !draining {
            self.metrics.worker_lost(cause);
            self.tell(
                at,
                ClusterEventKind::WorkerLost,
                format!("worker {worker} lost: {cause}"),
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

    /// Recent cluster events, oldest first.
    pub(crate) fn events(&self) -> Vec<(u64, ClusterEvent)> {
        self.with_board(|activity| activity.events())
    }

    /// Time at which a worker registered; `None` if the session is unknown.
    pub(crate) fn joined_at(&self, session: SessionId) -> Option<UnixMillis> {
        self.with_board(|activity| activity.joined_at(session))
    }

    /// The newest outer step of a job, if it completed any since the coordinator started.
    pub(crate) fn last_step(&self, job: &JobId) -> Option<v1::OuterStepMetrics> {
        self.with_board(|activity| activity.last_step(job))
    }

    /// Timelines of a job's newest outer steps, oldest first.
    pub(crate) fn timelines(&self, job: &JobId) -> Vec<Arc<StepTimeline>> {
        self.with_board(|activity| activity.timelines(job))
    }

    /// Sends the waiting webhooks and traces, each for at most `limit`.
    pub(crate) async fn shutdown(&self, limit: Duration) {
        if let Some(webhooks) = self.webhooks.get() {
            webhooks.shutdown(limit).await;
        }
        self.traces.shutdown(limit).await;
    }
}
