//! How a session begins: the worker connects, registers, and receives its identity and terms.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::BUILD_VERSION;
use lookbehind_common::ids::FencingToken;
use lookbehind_identity::{Access, Authorize, tls_refusal};
use lookbehind_proto::PROTOCOL_VERSION;
use lookbehind_proto::convert::FieldError;
use lookbehind_proto::transfer::in_process::InProcess;
use lookbehind_proto::v1;
use lookbehind_proto::v1::worker_service_client::WorkerServiceClient;
use lookbehind_proto::v1::{session_request, session_response};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::control::Ended;
use super::exchange::Listening;
use super::executor::ExecutorHandle;
use super::route::{self, Route};
use crate::telemetry::WorkerMetrics;

/// Messages that may wait for the stream.
const OUTGOING: usize = 64;

/// Everything that a session is created from.
pub(super) struct Link {
    pub(super) access: Access,
    pub(super) in_process: Option<InProcess>,
    pub(super) name: String,
    pub(super) device: String,
    pub(super) executor: ExecutorHandle,
    pub(super) metrics: WorkerMetrics,
    pub(super) shutdown: CancellationToken,
    /// Where the worker takes connections from other workers, if it does.
    pub(super) listening: Option<Arc<Listening>>,
}

/// Result of a registration: the stream, the worker's fencing token, and the route for tensors.
pub(super) struct Registration {
    pub(super) fencing_token: FencingToken,
    pub(super) terms: v1::Registered,
    pub(super) outgoing: mpsc::Sender<v1::SessionRequest>,
    pub(super) incoming: Streaming<v1::SessionResponse>,
    pub(super) route: Route,
}

impl Registration {
    /// How long either side may be silent before the other considers it lost.
    pub(super) fn detection(&self) -> Duration {
        Duration::from_millis(self.terms.failure_detection_ms.max(1))
    }

    /// Time between two heartbeats of the worker.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(self.terms.heartbeat_interval_ms.max(1))
    }
}

fn unreachable(error: impl std::error::Error + 'static) -> Ended {
    if let Some(reason) = tls_refusal(&error) {
        return Ended::lost(format!("no encrypted connection: {reason}"));
    }
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        reason = format!("{reason}: {inner}");
        source = inner.source();
    }
    Ended::lost(reason)
}

/// Connects and registers; tensor transfers run on `bulk`.
pub(super) async fn register(link: &Link, bulk: &Handle) -> Result<Registration, Ended> {
    let authorize = link.access.authorize().map_err(unreachable)?;
    let channel = link.access.connect(&route::endpoint(&link.access)).await.map_err(unreachable)?;
    let (outgoing, messages) = mpsc::channel(OUTGOING);
    let register = session_request::Message::Register(v1::Register {
        protocol: PROTOCOL_VERSION,
        version: BUILD_VERSION.to_owned(),
        name: link.name.clone(),
        device: link.device.clone(),
        endpoint: link.listening.as_ref().map(|listening| listening.endpoint()),
    });
    let first = v1::SessionRequest { fencing_token: None, message: Some(register) };
    outgoing.send(first).await.map_err(unreachable)?;
    let mut client = WorkerServiceClient::with_interceptor(channel, authorize.clone());
    let response = client.session(ReceiverStream::new(messages)).await.map_err(refused_or_lost)?;
    let mut incoming = response.into_inner();
    let (fencing_token, terms) = accepted(incoming.message().await.map_err(unreachable)?)?;
    tracing::info!(worker = link.name, session = %fencing_token.session, cluster = %fencing_token.cluster, "registered");
    let route = route(link, bulk, Duration::from_millis(terms.failure_detection_ms.max(1)), authorize);
    Ok(Registration { fencing_token, terms, outgoing, incoming, route })
}

/// The coordinator's answer to a registration.
fn accepted(answer: Option<v1::SessionResponse>) -> Result<(FencingToken, v1::Registered), Ended> {
    let lost = |reason: &str| Ended::lost(reason);
    let answer = answer.ok_or_else(|| lost("the coordinator closed the stream"))?;
    match (answer.fencing_token, answer.message) {
        (Some(fencing_token), Some(session_response::Message::Registered(terms))) => {
            let fencing_token =
                fencing_token.try_into().map_err(|error: FieldError| lost(&error.to_string()))?;
            Ok((fencing_token, terms))
        }
        (_, Some(session_response::Message::Refused(refused))) => {
            Err(Ended::Refused { reason: refused.reason, retryable: refused.retryable })
        }
        _ => Err(lost("expected registered first")),
    }
}

/// Refused credentials end the session but not the worker: the coordinator will not change its mind by itself, but
/// credentials may be renewed, so the worker asks again.
fn refused_or_lost(status: Status) -> Ended {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            Ended::Refused { reason: status.message().to_owned(), retryable: true }
        }
        _ => unreachable(status),
    }
}

/// How tensors are transferred: over a connection of their own, or within the process.
fn route(link: &Link, bulk: &Handle, detection: Duration, authorize: Authorize) -> Route {
    match &link.in_process {
        Some(in_process) => Route::InProcess(in_process.clone()),
        None => {
            let _guard = bulk.enter();
            let endpoint = route::watched(route::endpoint(&link.access), detection);
            Route::Network(link.access.connect_lazy(&endpoint), authorize)
        }
    }
}
