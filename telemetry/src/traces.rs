//! Traces: finished spans, sent to an OpenTelemetry collector over OTLP (gRPC).
//!
//! Emitters measure the times themselves and hand over a span with its children when it is complete. A task sends the
//! spans in batches. If the collector is unavailable or slow, spans are dropped and counted; emitters never wait.
//!
//! OpenTelemetry's own `BatchSpanProcessor` (`opentelemetry_sdk` 0.33) does not replace this. It counts only the spans for
//! which its queue had no room, keeps that number private and logs it at shutdown; batches that the collector refused and
//! spans that are left at the deadline of the shutdown are not counted. Here every span ends in one of two counters,
//! sent or dropped, and both are metrics ([`Traces::register`]).

mod export;
mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::SpanData;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::metrics::ByLabel;
pub use opentelemetry::Value;
pub use span::Span;

/// Capacity of the queue of spans that wait to be sent.
const QUEUE: usize = 8192;

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The address of the collector is invalid.
    #[error("traces to {endpoint:?}: expected an address like http://host:4317: {reason}")]
    Endpoint {
        /// The address as given, without parts that may be secret.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of certificates for the collector cannot be read.
    #[error("{variable}={path:?}: {source}", variable = export::CERTIFICATE)]
    Certificate {
        /// The path in the variable.
        path: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The OTLP environment variables are invalid or contradict each other.
    #[error("traces: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// Number of spans by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accepted by the collector.
    pub sent: u64,
    /// Dropped, because the queue was full or the collector did not accept them in time.
    pub dropped: u64,
}

/// The sender of finished spans. Clones share one queue. The default value has no collector and discards everything.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Running>>);

#[derive(Debug)]
struct Running {
    queue: mpsc::Sender<SpanData>,
    counts: Arc<SharedCounts>,
    end: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Counters shared by the emitters and the sending task. A waiting span is counted neither as sent nor as dropped.
#[derive(Debug)]
struct SharedCounts {
    waiting: AtomicU64,
    sent: Counter,
    dropped: Counter,
    /// The two counters by their names.
    by_outcome: ByLabel<Counter>,
}

impl Default for SharedCounts {
    fn default() -> Self {
        let by_outcome = ByLabel::default();
        let [sent, dropped] =
            ["sent", "dropped"].map(|outcome| by_outcome.get_or_create_owned(&[("outcome", outcome)]));
        Self { waiting: AtomicU64::default(), sent, dropped, by_outcome }
    }
}

impl SharedCounts {
    fn waits(&self, spans: usize) {
        self.waiting.fetch_add(spans as u64, Ordering::Relaxed);
    }

    fn sent(&self, spans: usize) {
        self.waiting.fetch_sub(spans as u64, Ordering::Relaxed);
        self.sent.inc_by(spans as u64);
    }

    fn dropped(&self, spans: usize) {
        self.waiting.fetch_sub(spans as u64, Ordering::Relaxed);
        self.dropped.inc_by(spans as u64);
    }

    /// Counts all waiting spans as dropped, because the task no longer sends.
    fn all_dropped(&self) {
        self.dropped.inc_by(self.waiting.swap(0, Ordering::Relaxed));
    }
}

impl Traces {
    /// Starts to send spans to a collector, under the name and version of a service; without an endpoint, spans are
    /// discarded. Must be called within a tokio runtime. The other OTLP variables (`OTEL_EXPORTER_OTLP_HEADERS`,
    /// `OTEL_EXPORTER_OTLP_CERTIFICATE`, `OTEL_RESOURCE_ATTRIBUTES`) apply too.
    ///
    /// # Errors
    /// If the endpoint is not a valid address, or a variable cannot be used. An unreachable collector is not an error.
    pub fn start(endpoint: Option<&str>, service: &str, version: &str) -> Result<Self, TraceError> {
        let Some(endpoint) = endpoint.map(str::trim).filter(|endpoint| !endpoint.is_empty()) else {
            return Ok(Self::default());
        };
        if let Some((_, host)) = endpoint.rsplit_once('@') {
            // The text before the `@` may be a secret, so the error does not repeat it.
            let reason = "credentials belong into OTEL_EXPORTER_OTLP_HEADERS".to_owned();
            return Err(TraceError::Endpoint { endpoint: format!("…@{host}"), reason });
        }
        let exporter = export::exporter(endpoint, service, version)?;
        let (queue, spans) = mpsc::channel(QUEUE);
        let (counts, end) = (Arc::new(SharedCounts::default()), CancellationToken::new());
        let task = tokio::spawn(export::run(exporter, spans, Arc::clone(&counts), end.clone()));
        let task = Mutex::new(Some(task));
        Ok(Self(Some(Arc::new(Running { queue, counts, end, task }))))
    }

    /// Whether spans are sent anywhere. If not, emitters need not build them.
    pub fn enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Registers `lookbehind_trace_spans_total`: spans by outcome. Without a collector, there is no such metric.
    pub fn register(&self, registry: &mut Registry) {
        if let Some(running) = &self.0 {
            let spans = running.counts.by_outcome.clone();
            registry.register("lookbehind_trace_spans", "Spans by outcome", spans);
        }
    }

    /// Queues a span with its children as a trace of its own. Never waits: if the queue has no room for all of them,
    /// all are dropped.
    pub fn emit(&self, root: Span) {
        let Some(running) = &self.0 else {
            return;
        };
        let spans = root.into_trace();
        // Counted before they are queued, because the task may take them from the count at once.
        running.counts.waits(spans.len());
        match running.queue.try_reserve_many(spans.len()) {
            Ok(places) => places.zip(spans).for_each(|(place, span)| place.send(span)),
            Err(_) => running.counts.dropped(spans.len()),
        }
    }

    /// Number of spans sent and dropped so far.
    pub fn counts(&self) -> Counts {
        self.0.as_ref().map_or_else(Counts::default, |running| Counts {
            sent: running.counts.sent.get(),
            dropped: running.counts.dropped.get(),
        })
    }

    /// Sends the waiting spans, for at most `limit`, and accepts no more.
    pub async fn shutdown(&self, limit: Duration) {
        let Some(running) = &self.0 else {
            return;
        };
        running.end.cancel();
        let Some(mut task) = running.task.lock().await.take() else {
            return;
        };
        if tokio::time::timeout(limit, &mut task).await.is_err() {
            task.abort();
            let _ = task.await;
            running.counts.all_dropped();
            tracing::warn!(?limit, "the collector of traces took too long; the last spans are lost");
        }
    }
}

#[cfg(test)]
mod tests;
