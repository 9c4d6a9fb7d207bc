//! The task that sends spans to the collector.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{SharedCounts, TraceError};

/// The standard OTLP variable for a PEM file with the certificates that sign collectors.
pub(super) const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
/// Most spans per batch.
const BATCH: usize = 512;
/// How long a span may wait for others, to fill a batch.
const LINGER: Duration = Duration::from_secs(1);
/// How long the collector may take to accept a batch.
const PATIENCE: Duration = Duration::from_secs(5);

/// The client of the collector. It connects when the first batch is sent.
pub(super) fn exporter(endpoint: &str, service: &str, version: &str) -> Result<SpanExporter, TraceError> {
    let unusable = |reason: String| TraceError::Endpoint { endpoint: endpoint.to_owned(), reason };
    let builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(PATIENCE);
    let built = match endpoint.split_once("://") {
        Some(("https", _)) => builder.with_tls_config(tls()?).build(),
        Some(("http", _)) => builder.build(),
        Some((scheme, _)) => return Err(unusable(format!("{scheme} is neither http nor https"))),
        None => return Err(unusable("it has no scheme".into())),
    };
    let mut exporter = built.map_err(|error| unusable(error.to_string()))?;
    let version = KeyValue::new("service.version", version.to_owned());
    let resource = Resource::builder().with_service_name(service.to_owned()).with_attribute(version);
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

fn tls() -> Result<ClientTlsConfig, TraceError> {
    let public = ClientTlsConfig::new().with_enabled_roots();
    let Ok(path) = std::env::var(CERTIFICATE) else {
        return Ok(public);
    };
    match std::fs::read(&path) {
        Ok(pem) => Ok(public.ca_certificate(Certificate::from_pem(pem))),
        Err(source) => Err(TraceError::Certificate { path, source }),
    }
}

/// Sends spans until `end` is cancelled, and then those that still wait.
pub(super) async fn run(
    exporter: SpanExporter,
    mut spans: mpsc::Receiver<SpanData>,
    counts: Arc<SharedCounts>,
    end: CancellationToken,
) {
    let mut away = false;
    while let Some(batch) = batch(&mut spans, &end).await {
        let size = batch.len();
        let taken = taken(&exporter, batch).await;
        match &taken {
            Ok(()) => counts.sent(size),
            Err(_) => counts.dropped(size),
        }
        match &taken {
            Ok(()) if away => tracing::info!("the collector of traces accepts spans again"),
            Err(reason) if !away => {
                tracing::warn!(reason, "the collector accepts no traces; spans are dropped")
            }
            _ => {}
        }
        away = taken.is_err();
        if away && end.is_cancelled() {
            counts.dropped(given_up(&mut spans));
        }
    }
}

/// Sends a batch; the error says why the collector did not accept it.
async fn taken(exporter: &SpanExporter, batch: Vec<SpanData>) -> Result<(), String> {
    // The exporter's own limit does not cover every wait for a connection.
    match tokio::time::timeout(PATIENCE, exporter.export(batch)).await {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// Discards the waiting spans and counts them: a collector that failed at the end will not accept the rest either.
fn given_up(spans: &mut mpsc::Receiver<SpanData>) -> usize {
    spans.close();
    std::iter::from_fn(|| spans.try_recv().ok()).count()
}

/// The next batch; `None` once `end` is cancelled and the queue is empty.
async fn batch(spans: &mut mpsc::Receiver<SpanData>, end: &CancellationToken) -> Option<Vec<SpanData>> {
    let mut batch = Vec::new();
    let first = tokio::select! {
        biased;
        received = spans.recv_many(&mut batch, BATCH) => received,
        () = end.cancelled() => {
            spans.close();
            spans.recv_many(&mut batch, BATCH).await
        }
    };
    let until = Instant::now() + LINGER;
    while first > 0 && batch.len() < BATCH && !end.is_cancelled() {
        let room = BATCH - batch.len();
        tokio::select! {
            received = spans.recv_many(&mut batch, room) => if received == 0 { break },
            () = tokio::time::sleep_until(until) => break,
            () = end.cancelled() => break,
        }
    }
    (first > 0).then_some(batch)
}
