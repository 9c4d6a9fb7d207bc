//! Observation: turns what the state machine reports into metrics, traces and the content of the dashboard.

mod activity;
mod degraded;
mod metrics;
mod spans;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_proto::v1;
use lookbehind_telemetry::http;
use lookbehind_telemetry::repeated::Repeated;
use lookbehind_telemetry::traces::Traces;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::state::observation::{LostWorker, Observation, StepTimeline};
use crate::state::{JobState, NoticeKind, UnixMillis};
use crate::webhooks::{Source, WebhookConfig, WebhookError, Webhooks};

use activity::Activity;
pub(crate) use activity::{ClusterEvent, ClusterEventKind};
pub(crate) use degraded::DegradedMode;
use degraded::{DegradedModes, Report};
pub(crate) use metrics::{Metrics, Refused, WebhookCounts};

/// Receives the observations of the state machine. It never blocks.
pub(crate) struct Observer {
    /// The metrics that Prometheus scrapes.
    pub(crate) metrics: Metrics,
    activity: Mutex<Activity>,
    degraded: Mutex<DegradedModes>,
    refusals: Mutex<Repeated<&'static str>>,
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

/// A refusal of one kind is logged at most once in this time.
const REFUSALS: Duration = Duration::from_secs(60);
/// There has been no sign of life yet.
const NEVER: u64 = u64::MAX;
/// The coordinator is shutting down.
const ENDING: u64 = u64::MAX - 1;
/// Lower bound of the silence of the state machine after which the coordinator is not ready.
const SILENT: Duration = Duration::from_secs(10);

/// The present time of the system clock; a clock before 1970 counts as 1970.
pub(crate) fn unix_now() -> UnixMillis {
    unix_millis(SystemTime::now())
}

/// A time of the system clock; one before 1970 counts as 1970.
pub(crate) fn unix_millis(at: SystemTime) -> UnixMillis {
    UnixMillis(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
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
            degraded: Mutex::default(),
            refusals: Mutex::new(Repeated::new(REFUSALS)),
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
        let mut stops = self.degraded().into_iter().filter(|(mode, _)| mode.stops_service());
        stops.next().map_or(Ok(()), |(_, reason)| Err(reason))
    }

    /// Counts and logs a caller who is refused.
    pub(crate) fn refuse(&self, why: Refused, from: impl std::fmt::Display, reason: &str) {
        self.metrics.refuse(why);
        self.log_refusal(why.name(), from, reason);
    }

    /// Counts and logs a connection whose TLS handshake failed.
    pub(crate) fn refuse_handshake(&self, from: impl std::fmt::Display, reason: &str) {
        self.metrics.handshakes_failed.inc();
        self.log_refusal("handshake", from, reason);
    }

    /// Logs a refusal, unless one of its kind was logged a short while ago: then only their number is told later.
    fn log_refusal(&self, kind: &'static str, from: impl std::fmt::Display, reason: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let told = refusals.admit(kind, Instant::now());
        drop(refusals);
        if let Some(not_told) = told {
            tracing::warn!(kind, %from, reason, not_told, "caller refused");
        }
    }

    /// Enters a degraded mode for a reason, or leaves it. Log, metrics, webhooks and dashboard are told when that is a
    /// change.
    pub(crate) fn set_degraded(&self, mode: DegradedMode, reason: Option<String>) {
        let text = reason.clone();
        let report = self.with_modes(|modes| modes.set(mode, reason, Instant::now()));
        let Some(report) = report else { return };
        self.metrics.degraded.set(mode, text.is_some());
        if let Some(webhooks) = self.webhooks.get() {
            webhooks.degraded(unix_now(), mode.name(), text.as_deref());
        }
        log_degraded(mode, text.as_deref().unwrap_or_default(), &report);
        let text = text.unwrap_or_else(|| mode.over().to_owned());
        self.tell(unix_now(), ClusterEventKind::Coordinator, text, "", None);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Reminds of degraded modes that last.
    pub(crate) fn remind(&self) {
        for (mode, reason, report) in self.with_modes(|modes| modes.due(Instant::now())) {
            log_degraded(mode, &reason, &report);
        }
    }

    /// The degraded modes that the coordinator is in, with their reasons.
    pub(crate) fn degraded(&self) -> Vec<(DegradedMode, String)> {
        self.with_modes(|modes| modes.reasons())
    }

    fn with_modes<T>(&self, act: impl FnOnce(&mut DegradedModes) -> T) -> T {
        act(&mut self.degraded.lock().unwrap_or_else(PoisonError::into_inner))
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
            // It is expected again and again, and must not push what is not expected out of the list.
            Observation::JobNoted(_, NoticeKind::Checkpoint, _) => {}
            Observation::JobNoted(job, _, text) => {
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

fn log_degraded(mode: DegradedMode, reason: &str, report: &Report) {
    let (mode, over) = (mode.name(), mode.over());
    match report {
        Report::Begun => tracing::error!(mode, reason, "degraded mode"),
        Report::Lasts(for_long) => {
            tracing::error!(mode, reason, minutes = for_long.as_secs() / 60, "degraded mode lasts");
        }
        Report::Over(after) => {
            tracing::info!(mode, seconds = after.as_secs(), "degraded mode is over: {}", over);
        }
    }
}
