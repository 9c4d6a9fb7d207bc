//! Metrics of a worker.

mod exchange;

use std::time::Instant;

use lookbehind_common::test_set::TestSet;
use lookbehind_telemetry::metrics::{ByLabel, Direction, Label, Seconds, short_times};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use self::exchange::ExchangeMetrics;
use crate::compute::RequestKind;

/// Metrics of a worker. Clones share the counters, so that a server can report them.
#[derive(Clone, Debug)]
pub struct WorkerMetrics {
    connected: Gauge,
    sessions: Counter,
    shards: ByLabel<Counter>,
    samples: Counter,
    compute: Seconds,
    data: Seconds,
    shard: Histogram,
    transfer_bytes: ByLabel<Counter>,
    transfer: ByLabel<Seconds>,
    failures: ByLabel<Counter>,
    memory_limit: Gauge,
    exchange: ExchangeMetrics,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A job could not be loaded.
    Prepare,
    /// A segment could not be computed.
    Request,
    /// A partial or initial weights could not be sent, or were refused.
    Upload,
}

/// What a computed segment adds to the counters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Computed {
    pub(crate) kind: RequestKind,
    pub(crate) shards: u32,
    pub(crate) samples: u64,
    pub(crate) compute_seconds: f64,
    pub(crate) data_seconds: f64,
}

/// Counts a worker as registered until this is dropped.
#[derive(Debug)]
pub(crate) struct Registered(Gauge);

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        let metrics = Self {
            connected: Gauge::default(),
            sessions: Counter::default(),
            shards: Family::default(),
            samples: Counter::default(),
            compute: Seconds::default(),
            data: Seconds::default(),
            shard: short_times(),
            transfer_bytes: Family::default(),
            transfer: Family::default(),
            failures: Family::default(),
            memory_limit: Gauge::default(),
            exchange: ExchangeMetrics::default(),
        };
        metrics.begin_series();
        metrics
    }
}

impl WorkerMetrics {
    /// Registers the metrics for scraping, under names that begin with `lookbehind_worker`.
    pub fn register(&self, registry: &mut Registry) {
        let Self { shards, samples, transfer, transfer_bytes, failures, memory_limit, .. } = self.clone();
        let worker = registry.sub_registry_with_prefix("lookbehind_worker");
        worker.register("connected", "Whether it is registered with a coordinator", self.connected.clone());
        worker.register("sessions", "Registrations with a coordinator", self.sessions.clone());
        worker.register("shards_computed", "Shards whose partials were computed", shards);
        worker.register("samples", "Samples in these shards, each time that they were computed", samples);
        let mut timed = |name, help, times: &Seconds| {
            worker.register_with_unit(name, help, Unit::Seconds, times.clone());
        };
        timed("compute", "Time that shards took to compute", &self.compute);
        timed("data", "Time that computing waited for samples", &self.data);
        let help = "Time that a shard took to compute, without waiting for samples";
        worker.register_with_unit("compute_shard", help, Unit::Seconds, self.shard.clone());
        let help = "Tensors that went over the network";
        worker.register_with_unit("transfer", help, Unit::Bytes, transfer_bytes);
        let help = "Time that tensors took over the network, answers included";
        worker.register_with_unit("transfer", help, Unit::Seconds, transfer);
        worker.register("failures", "What could not be done", failures);
        let help = "Memory that the worker may have in use";
        worker.register_with_unit("memory_limit", help, Unit::Bytes, memory_limit);
        self.exchange.register(worker);
    }

    /// Creates series at zero before the first scrape, so that the first event is visible as a change.
    fn begin_series(&self) {
        for kind in [RequestKind::Gradient, RequestKind::Test(TestSet::Test)] {
            self.shards.get_or_create_owned(&kind_label(kind));
        }
        for direction in Direction::ALL {
            self.transfer_bytes.get_or_create_owned(&direction.label());
            self.transfer.get_or_create_owned(&direction.label());
        }
        for failure in [Failure::Prepare, Failure::Request, Failure::Upload] {
            self.failures.get_or_create_owned(&failure.label());
        }
    }

    /// Whether the worker is registered with a coordinator now.
    pub fn is_registered(&self) -> bool {
        self.connected.get() == 1
    }

    /// Records that a session begins; it ends when the returned value is dropped.
    pub(crate) fn registered(&self) -> Registered {
        self.sessions.inc();
        self.connected.set(1);
        Registered(self.connected.clone())
    }

    pub(crate) fn limit_memory(&self, bytes: u64) {
        self.memory_limit.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(crate) fn computed(&self, computed: Computed) {
        let Computed { kind, shards, samples, compute_seconds, data_seconds } = computed;
        self.shards.get_or_create(&kind_label(kind)).inc_by(u64::from(shards));
        self.samples.inc_by(samples);
        self.compute.inc_by(compute_seconds);
        self.data.inc_by(data_seconds);
        // Shards of a segment may be computed in parallel, so each is attributed an equal share of the time.
        let each = compute_seconds / f64::from(shards.max(1));
        (0..shards).for_each(|_| self.shard.observe(each));
    }

    /// Records a finished transfer that began at `begun`.
    pub(crate) fn moved(&self, direction: Direction, bytes: usize, begun: Instant) {
        self.transfer_bytes.get_or_create(&direction.label()).inc_by(bytes as u64);
        self.transfer.get_or_create(&direction.label()).inc_by(begun.elapsed().as_secs_f64());
    }

    /// Counters of the exchange with other workers.
    pub(crate) fn exchange(&self) -> &ExchangeMetrics {
        &self.exchange
    }

    pub(crate) fn failed(&self, failure: Failure) {
        self.failures.get_or_create(&failure.label()).inc();
    }
}

fn kind_label(kind: RequestKind) -> Label {
    match kind {
        RequestKind::Gradient => [("kind", "gradient")],
        RequestKind::Test(_) => [("kind", "test")],
    }
}

impl Failure {
    fn label(self) -> Label {
        match self {
            Self::Prepare => [("what", "prepare")],
            Self::Request => [("what", "request")],
            Self::Upload => [("what", "upload")],
        }
    }
}

#[cfg(test)]
mod tests;
