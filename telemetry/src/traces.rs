//! Traces: finished spans, sent to an OpenTelemetry collector over OTLP (gRPC).
//!
//! Who emits has measured the times already; a span and its children are handed over at once when all is over. A task
//! sends them in batches. When the collector is away or slow, spans are dropped and counted: nobody waits for it.

mod export;
mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use opentelemetry::Value;
pub use span::Span;

/// Spans that may wait to be sent.
const QUEUE: usize = 8192;

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The collector's address is none.
    #[error("traces to {endpoint:?}: expected an address like http://host:4317: {reason}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificates of collectors cannot be read.
    #[error("{variable}={path:?}: {source}", variable = export::CERTIFICATE)]
    Certificate {
        /// The file that the variable names.
        path: String,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// Variables of OTLP contradict each other.
    #[error("traces: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// What has become of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the collector.
    pub sent: u64,
    /// Given up, because the collector did not take them in time.
    pub dropped: u64,
}

/// Where finished spans are handed over. Clones share one queue; without a collector it is a place where nothing
/// happens.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Running>>);

#[derive(Debug)]
struct Running {
    queue: mpsc::Sender<SpanData>,
    counts: Arc<SharedCounts>,
    end: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Counts that emitters and the sending task share. What waits is part of neither of the others.
#[derive(Debug, Default)]
struct SharedCounts {
    waiting: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl SharedCounts {
    fn waits(&self, spans: usize) {
        self.waiting.fetch_add(spans as u64, Ordering::Relaxed);
    }

    fn sent(&self, spans: usize) {
        self.waiting.fetch_sub(spans as u64, Ordering::Relaxed);
        self.sent.fetch_add(spans as u64, Ordering::Relaxed);
    }

    fn dropped(&self, spans: usize) {
        self.waiting.fetch_sub(spans as u64, Ordering::Relaxed);
        self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }

    fn total_dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Nothing is sent any more.
    fn all_dropped(&self) {
        self.dropped.fetch_add(self.waiting.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Traces {
    /// Sends spans to a collector, under the name of a service and its version; nowhere without an endpoint. Must be
    /// called within a tokio runtime. The other variables of OTLP (`OTEL_EXPORTER_OTLP_HEADERS`,
    /// `OTEL_EXPORTER_OTLP_CERTIFICATE`, `OTEL_RESOURCE_ATTRIBUTES`) count too.
    ///
    /// # Errors
    /// When the endpoint is no address, or a variable cannot be used. That nobody listens is no error.
    pub fn start(endpoint: Option<&str>, service: &str, version: &str) -> Result<Self, TraceError> {
        let Some(endpoint) = endpoint.map(str::trim).filter(|endpoint| !endpoint.is_empty()) else {
            return Ok(Self::default());
        };
        if let Some((_, host)) = endpoint.rsplit_once('@') {
            // What stands before it may be a secret.
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

    /// Whether spans go anywhere: who emits need not build them otherwise.
    pub fn enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Hands over a span with its children, as a trace of its own. Never waits: where the queue has no room for all of
    /// them, all are dropped.
    pub fn emit(&self, root: Span) {
        let Some(running) = &self.0 else {
            return;
        };
        let spans = root.into_trace();
        running.counts.waits(spans.len());
        match running.queue.try_reserve_many(spans.len()) {
            Ok(places) => places.zip(spans).for_each(|(place, span)| place.send(span)),
            Err(_) => running.counts.dropped(spans.len()),
        }
    }

    /// What has become of spans so far.
    pub fn counts(&self) -> Counts {
        self.0.as_ref().map_or_else(Counts::default, |running| Counts {
            sent: running.counts.sent.load(Ordering::Relaxed),
            dropped: running.counts.total_dropped(),
        })
    }

    /// Sends what waits, within a limit, and takes no more.
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
