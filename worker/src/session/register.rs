//! How a session begins: the worker connects, registers, and receives its identity and terms.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::BUILD_VERSION;
use lookbehind_common::ids::FencingToken;
use lookbehind_identity::{Access, Authorize, Refusal};
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
use tonic::Streaming;

use super::ending::Ended;
use super::exchange::Listening;
use super::executor::ExecutorHandle;
use super::route::{self, Route};
use super::terms::{Terms, TermsError};
use crate::telemetry::WorkerMetrics;

/// How long the coordinator may take to answer a registration.
const REGISTRATION: Duration = Duration::from_secs(10);
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
    pub(super) terms: Terms,
    pub(super) outgoing: mpsc::Sender<v1::SessionRequest>,
    pub(super) incoming: Streaming<v1::SessionResponse>,
    pub(super) route: Route,
}

/// Connects and registers, in time; tensor transfers run on `bulk`.
pub(super) async fn register(link: &Link, bulk: &Handle) -> Result<Registration, Ended> {
    match tokio::time::timeout(REGISTRATION, try_register(link, bulk)).await {
        Ok(registered) => registered,
        Err(_) => Err(unanswered(link).await),
    }
}

/// A registration was not answered. Servers of other kinds may answer a call only when all of it has arrived, which one
/// with a stream of messages never has: a call without any shows whether a coordinator is there at all.
async fn unanswered(link: &Link) -> Ended {
    let refused = async {
        let calls = link.access.connect(&route::endpoint(&link.access)).await.ok()?;
        let answer = WorkerServiceClient::new(calls).session(tokio_stream::empty()).await;
        Refusal::of(&answer.err()?)
    };
    match tokio::time::timeout(REGISTRATION, refused).await {
        Ok(Some(refusal)) => Ended::lost(&refusal.to_string()),
        Ok(None) | Err(_) => Ended::lost("no answer to the registration"),
    }
}

async fn try_register(link: &Link, bulk: &Handle) -> Result<Registration, Ended> {
    let calls = link.access.connect(&route::endpoint(&link.access)).await.map_err(Ended::unreachable)?;
    let (outgoing, messages) = mpsc::channel(OUTGOING);
    let register = session_request::Message::Register(v1::Register {
        protocol: PROTOCOL_VERSION,
        version: BUILD_VERSION.to_owned(),
        name: link.name.clone(),
        device: link.device.clone(),
        endpoint: link.listening.as_ref().map(|listening| listening.endpoint()),
    });
    let first = v1::SessionRequest { fencing_token: None, message: Some(register) };
    outgoing.send(first).await.map_err(Ended::unreachable)?;
    let mut client = WorkerServiceClient::new(calls);
    let response = client.session(ReceiverStream::new(messages)).await.map_err(Ended::answered)?;
    let mut incoming = response.into_inner();
    let (fencing_token, terms) = accepted(incoming.message().await.map_err(Ended::answered)?)?;
    tracing::info!(worker = link.name, session = %fencing_token.session, cluster = %fencing_token.cluster, "registered");
    let authorize = link.access.authorize().map_err(Ended::unreachable)?;
    let route = route(link, bulk, terms.detection, authorize);
    Ok(Registration { fencing_token, terms, outgoing, incoming, route })
}

/// The coordinator's answer to a registration.
fn accepted(answer: Option<v1::SessionResponse>) -> Result<(FencingToken, Terms), Ended> {
    let answer = answer.ok_or_else(|| Ended::lost("the coordinator closed the stream"))?;
    match (answer.fencing_token, answer.message) {
        (Some(fencing_token), Some(session_response::Message::Registered(terms))) => {
            let fencing_token =
                fencing_token.try_into().map_err(|error: FieldError| Ended::lost(&error.to_string()))?;
            let terms = terms.try_into().map_err(|error: TermsError| Ended::lost(&error.to_string()))?;
            Ok((fencing_token, terms))
        }
        (_, Some(session_response::Message::Refused(refused))) => Err(Ended::refused(&refused)),
        _ => Err(Ended::lost("expected registered first")),
    }
}

/// How tensors are transferred: over a connection of their own, or within the process.
fn route(link: &Link, bulk: &Handle, detection: Duration, authorize: Authorize) -> Route {
    match &link.in_process {
        Some(in_process) => Route::InProcess(in_process.clone()),
        None => {
            let _guard = bulk.enter();
            let endpoint = route::watched(route::endpoint(&link.access), detection);
            Route::network(link.access.clone(), endpoint, authorize)
        }
    }
}
