//! The coordinator's Prometheus metrics. docs/observability.md lists them.

mod degraded;
mod job;
mod labels;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_proto::v1;
use lookbehind_telemetry::metrics::{ByLabel, Direction, long_times, short_times};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use degraded::DegradedSeries;
use job::{JobSeries, Real};
pub(crate) use labels::Refused;
use labels::WorkerLabel;

use crate::state::JobState;
use crate::state::event::{LossCause, WorkerView};
use crate::state::observation::{Fate, JobMove, StepTimeline, Way};

/// The series of one worker.
struct WorkerSeries {
    silent: Family<WorkerLabel, Real>,
    shard_seconds: Family<WorkerLabel, Histogram>,
    shards: Family<WorkerLabel, Counter>,
}

/// What became of the events that webhooks tell, one for each event and receiver.
#[derive(Clone, Default)]
pub(crate) struct WebhookCounts(ByLabel<Counter>);

impl WebhookCounts {
    /// A receiver has taken an event.
    pub(crate) fn delivered(&self) {
        self.count("delivered");
    }

    /// A receiver has refused an event, or did not take it in time.
    pub(crate) fn failed(&self) {
        self.count("failed");
    }

    /// An event was not sent, because too many were waiting.
    pub(crate) fn dropped(&self) {
        self.count("dropped");
    }

    /// Events with an outcome.
    #[cfg(test)]
    pub(crate) fn with(&self, outcome: &'static str) -> u64 {
        self.0.get_or_create(&[("outcome", outcome)]).get()
    }

    fn count(&self, outcome: &'static str) {
        self.0.get_or_create(&[("outcome", outcome)]).inc();
    }
}

/// All metrics of a coordinator.
pub(crate) struct Metrics {
    jobs: ByLabel<Gauge>,
    job: JobSeries,
    workers: ByLabel<Gauge>,
    worker: WorkerSeries,
    /// Registered workers by name. Exactly these names have series.
    known: Mutex<BTreeMap<String, BTreeSet<SessionId>>>,
    queue_wait: Histogram,
    losses: ByLabel<Counter>,
    retries: ByLabel<Counter>,
    exchanges: ByLabel<Counter>,
    outer_step: Histogram,
    reduction: Histogram,
    optimizer: Histogram,
    bytes: ByLabel<Counter>,
    checkpoint: Histogram,
    checkpoint_bytes: Gauge,
    checkpoints: ByLabel<Counter>,
    refused: ByLabel<Counter>,
    /// What keeps the coordinator from its work.
    pub(crate) degraded: DegradedSeries,
    pub(super) webhooks: WebhookCounts,
    /// Open gRPC connections.
    pub(crate) connections: Gauge,
    /// Connections whose TLS handshake failed.
    pub(crate) handshakes_failed: Counter,
}

impl Metrics {
    /// Registers all metrics. Series with labels that are known in advance start at 0.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            jobs: Family::default(),
            job: JobSeries::default(),
            workers: Family::default(),
            worker: WorkerSeries {
                silent: Family::default(),
                shard_seconds: Family::new_with_constructor(short_times),
                shards: Family::default(),
            },
            known: Mutex::default(),
            queue_wait: long_times(),
            losses: Family::default(),
            retries: Family::default(),
            exchanges: Family::default(),
            outer_step: long_times(),
            reduction: short_times(),
            optimizer: short_times(),
            bytes: Family::default(),
            checkpoint: long_times(),
            checkpoint_bytes: Gauge::default(),
            checkpoints: Family::default(),
            refused: Family::default(),
            degraded: DegradedSeries::default(),
            webhooks: WebhookCounts::default(),
            connections: Gauge::default(),
            handshakes_failed: Counter::default(),
        };
        metrics.register(registry.sub_registry_with_prefix("lookbehind"));
        metrics.begin();
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        let seconds = || Unit::Seconds;
        registry.register("jobs", "Jobs by state", self.jobs.clone());
        self.job.register(registry);
        registry.register("workers", "Registered workers by state", self.workers.clone());
        let help = "Time since the last message";
        registry.register_with_unit("worker_silent", help, seconds(), self.worker.silent.clone());
        let help = "From asking for a shard to its delivery";
        registry.register_with_unit("worker_shard", help, seconds(), self.worker.shard_seconds.clone());
        registry.register("worker_shards", "Shards delivered", self.worker.shards.clone());
        let help = "How long jobs waited for workers";
        registry.register_with_unit("queue_wait", help, seconds(), self.queue_wait.clone());
        registry.register("worker_losses", "Workers that were lost", self.losses.clone());
        registry.register("shard_retries", "Shards given to another worker as well", self.retries.clone());
        registry.register(
            "exchanges",
            "Gradients by how their partials came together",
            self.exchanges.clone(),
        );
        registry.register_with_unit(
            "outer_step",
            "Length of outer steps",
            seconds(),
            self.outer_step.clone(),
        );
        let help = "Summing the partials of one gradient";
        registry.register_with_unit("reduction", help, seconds(), self.reduction.clone());
        let help = "The optimizer's step after one gradient";
        registry.register_with_unit("optimizer", help, seconds(), self.optimizer.clone());
        registry.register_with_unit("transfer", "Tensors over the network", Unit::Bytes, self.bytes.clone());
        let help = "Writing a checkpoint until it is durable";
        registry.register_with_unit("checkpoint", help, seconds(), self.checkpoint.clone());
        let help = "Size of the newest checkpoint";
        registry.register_with_unit("checkpoint", help, Unit::Bytes, self.checkpoint_bytes.clone());
        registry.register("checkpoints", "Checkpoints by outcome", self.checkpoints.clone());
        registry.register("refused_calls", "Calls and connections refused", self.refused.clone());
        self.degraded.register(registry);
        registry.register("webhooks", "Events for webhooks by outcome", self.webhooks.0.clone());
        registry.register("connections", "Open gRPC connections", self.connections.clone());
        let help = "Connections that never came to be encrypted";
        registry.register("handshakes_failed", help, self.handshakes_failed.clone());
    }

    fn begin(&self) {
        for state in STATES {
            self.jobs.get_or_create_owned(&[("state", state.name())]);
        }
        for state in ["free", "serving", "draining"] {
            self.workers.get_or_create_owned(&[("state", state)]);
        }
        for cause in ["stream_closed", "silent", "outbox_full", "protocol", "stuck"] {
            self.losses.get_or_create_owned(&[("cause", cause)]);
        }
        for reason in ["lost", "failed", "slow"] {
            self.retries.get_or_create_owned(&[("reason", reason)]);
        }
        for way in Way::ALL {
            self.exchanges.get_or_create_owned(&[("way", way.name())]);
        }
        for direction in Direction::ALL {
            self.bytes.get_or_create_owned(&direction.label());
        }
        for outcome in ["written", "failed"] {
            self.checkpoints.get_or_create_owned(&[("outcome", outcome)]);
        }
        for outcome in ["delivered", "failed", "dropped"] {
            self.webhooks.0.get_or_create_owned(&[("outcome", outcome)]);
        }
        for reason in Refused::ALL {
            self.refused.get_or_create_owned(&reason.label());
        }
    }

    /// A job changed its state.
    pub(super) fn job_moved(&self, moved: &JobMove) {
        if let Some(from) = moved.from {
            self.jobs.get_or_create(&[("state", from.name())]).dec();
        }
        self.jobs.get_or_create(&[("state", moved.to.name())]).inc();
        if let (Some(JobState::Queued), JobState::Preparing, Some(waited)) =
            (moved.from, moved.to, moved.after)
        {
            self.queue_wait.observe(waited.as_secs_f64());
        }
        // A job that came from no state has no series yet.
        match moved.from {
            Some(_) if moved.to.is_terminal() || moved.to == JobState::Paused => self.job.rest(&moved.job),
            Some(_) => self.job.wake(&moved.job),
            None => {}
        }
    }

    /// A job was deleted.
    pub(super) fn job_deleted(&self, job: &JobId, state: JobState) {
        self.jobs.get_or_create(&[("state", state.name())]).dec();
        self.job.delete(job);
    }

    pub(super) fn worker_lost(&self, cause: &LossCause) {
        self.losses.get_or_create(&[("cause", cause_name(cause))]).inc();
    }

    /// A worker registered. Several workers may share a name.
    pub(super) fn worker_joined(&self, worker: &str, session: SessionId) {
        lock(&self.known).entry(worker.to_owned()).or_default().insert(session);
    }

    /// A worker was lost. Its series are removed if no other worker has the same name.
    pub(super) fn worker_gone(&self, worker: &str, session: SessionId) {
        let mut known = lock(&self.known);
        if let Some(sessions) = known.get_mut(worker) {
            sessions.remove(&session);
            if sessions.is_empty() {
                known.remove(worker);
                let label = WorkerLabel { worker: worker.to_owned() };
                self.worker.silent.remove(&label);
                self.worker.shard_seconds.remove(&label);
                self.worker.shards.remove(&label);
            }
        }
    }

    pub(super) fn step_done(
        &self,
        job: &JobId,
        timeline: &StepTimeline,
        step: &v1::OuterStepMetrics,
        outer_steps: u64,
    ) {
        self.job.note(job, step, outer_steps);
        self.outer_step.observe(timeline.length.as_secs_f64());
        for request in &timeline.requests {
            if !request.test {
                self.exchanges.get_or_create(&[("way", request.way.name())]).inc();
                self.reduction.observe(request.reduction);
                self.optimizer.observe(request.optimizer);
            }
            for part in &request.parts {
                let shards = u64::from(part.segment.len());
                let retried = match part.fate {
                    Fate::Lost => Some("lost"),
                    Fate::Failed => Some("failed"),
                    _ if part.again => Some("slow"),
                    _ => None,
                };
                if let Some(reason) = retried {
                    self.retries.get_or_create(&[("reason", reason)]).inc_by(shards);
                }
                if let Some(delivered) = part.delivered {
                    let took = delivered.saturating_sub(part.assigned).as_secs_f64();
                    self.shards_delivered(&part.worker, shards, took);
                }
            }
        }
    }

    /// Counts only shards of registered workers. Otherwise a late result would bring back a series that was removed.
    fn shards_delivered(&self, worker: &str, shards: u64, seconds: f64) {
        // The lock is held until the end, so that the series cannot be removed between check and update.
        let known = lock(&self.known);
        if !known.contains_key(worker) {
            return;
        }
        let label = WorkerLabel { worker: worker.to_owned() };
        self.worker.shards.get_or_create(&label).inc_by(shards);
        self.worker.shard_seconds.get_or_create(&label).observe(seconds / shards.max(1) as f64);
    }

    /// Updates the gauges of the present state before a scrape.
    pub(crate) fn refresh(&self, workers: &[WorkerView]) {
        let mut counts = [("free", 0), ("serving", 0), ("draining", 0)];
        for worker in workers {
            // The list may contain a worker that has been lost since it was taken.
            let known = lock(&self.known);
            if known.contains_key(&*worker.name) {
                let label = WorkerLabel { worker: worker.name.to_string() };
                self.worker.silent.get_or_create(&label).set(worker.silent_seconds);
            }
            let state = if worker.draining { 2 } else { usize::from(worker.busy) };
            counts[state].1 += 1;
        }
        for (state, count) in counts {
            self.workers.get_or_create(&[("state", state)]).set(count);
        }
        self.job.remove_resting();
    }

    /// Counts tensors that were transferred over the network.
    pub(crate) fn transferred(&self, direction: Direction, bytes: u64) {
        self.bytes.get_or_create(&direction.label()).inc_by(bytes);
    }

    /// Notes a written checkpoint. If its size is unknown, the gauge keeps the last size.
    pub(crate) fn checkpoint_written(&self, seconds: f64, bytes: std::io::Result<u64>) {
        self.checkpoints.get_or_create(&[("outcome", "written")]).inc();
        self.checkpoint.observe(seconds);
        match bytes {
            Ok(bytes) => {
                self.checkpoint_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
            Err(error) => tracing::warn!(%error, "the size of a checkpoint cannot be read"),
        }
    }

    /// Notes a checkpoint that could not be written.
    pub(crate) fn checkpoint_failed(&self) {
        self.checkpoints.get_or_create(&[("outcome", "failed")]).inc();
    }

    /// Counts a refused call or connection.
    pub(crate) fn refuse(&self, why: Refused) {
        self.refused.get_or_create(&why.label()).inc();
    }
}

const STATES: [JobState; 7] = [
    JobState::Queued,
    JobState::Preparing,
    JobState::Running,
    JobState::Paused,
    JobState::Succeeded,
    JobState::Failed,
    JobState::Cancelled,
];

fn cause_name(cause: &LossCause) -> &'static str {
    match cause {
        LossCause::StreamClosed => "stream_closed",
        LossCause::Silent => "silent",
        LossCause::OutboxFull => "outbox_full",
        LossCause::Protocol(_) => "protocol",
        LossCause::Stuck(_) => "stuck",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
