//! `PeerService`: serves other workers the blocks that this one has.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use lookbehind_common::blocks::{BlockRange, Blocks};
use lookbehind_common::ids::{SessionId, Ticket};
use lookbehind_common::reduction::Segment;
use lookbehind_identity::peers::Fingerprint;
use lookbehind_proto::convert::{FieldError, required};
use lookbehind_proto::transfer::{blocks, body};
use lookbehind_proto::v1;
use lookbehind_proto::v1::peer_service_server::SERVICE_NAME;
use lookbehind_telemetry::metrics::Direction;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::server::NamedService;

use super::listener::Caller;
use super::offer::Offer;
use super::round::{Board, Round};
use crate::telemetry::WorkerMetrics;

/// How long a call waits for the round that it belongs to.
const PATIENCE: Duration = Duration::from_secs(2);

/// The service. It does not use the codec of the gRPC library, which copies each byte twice.
#[derive(Clone, Debug)]
pub(super) struct PeerServer {
    pub(super) board: Arc<Board>,
    /// Whether callers must have shown a certificate.
    pub(super) is_guarded: bool,
    pub(super) metrics: WorkerMetrics,
}

impl NamedService for PeerServer {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for PeerServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            Ok(match server.answer(request).await {
                Ok(body) => {
                    let mut response = http::Response::new(body);
                    response.headers_mut().insert(http::header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
                    response
                }
                Err(status) => status.into_http(),
            })
        })
    }
}

fn invalid(error: FieldError) -> Status {
    Status::invalid_argument(error.to_string())
}

impl PeerServer {
    async fn answer(&self, request: http::Request<Body>) -> Result<Body, Status> {
        let (head, body) = request.into_parts();
        let caller = head.extensions.get::<Caller>().and_then(|caller| caller.fingerprint);
        match head.uri.path().strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME)) {
            Some("/FetchWeights") => {
                let request: v1::FetchWeightsRequest = body::message(body).await?;
                let (round, range) =
                    self.admit(&request.ticket, request.session, request.blocks, caller).await?;
                check_range(range, &round.weight_blocks)?;
                if !round.passes_on(range) {
                    return Err(Status::failed_precondition(format!(
                        "{range} are not passed on by this worker"
                    )));
                }
                Ok(self.serve(&round, Arc::clone(&round.weights), range, request.caller))
            }
            Some("/FetchPartial") => {
                let request: v1::FetchPartialRequest = body::message(body).await?;
                let segment = required(request.segment, "segment").and_then(Segment::try_from);
                let segment = segment.map_err(invalid)?;
                let (round, range) =
                    self.admit(&request.ticket, request.session, request.blocks, caller).await?;
                check_range(range, &round.partial_blocks)?;
                let over = || Status::unavailable("the request is over");
                let partial = round.over.run_until_cancelled(round.partial(segment)).await;
                Ok(self.serve(&round, partial.ok_or_else(over)?, range, request.caller))
            }
            _ => Err(Status::unimplemented(format!("{SERVICE_NAME} has no method {}", head.uri.path()))),
        }
    }

    /// The answer to a call, which ends with the round.
    fn serve(&self, round: &Arc<Round>, offer: Arc<Offer>, range: BlockRange, caller: u64) -> Body {
        let peer = round.plan.borrow().peers.get(&SessionId(caller)).map(|peer| peer.place.address.clone());
        let mut sent = Sent { metrics: self.metrics.clone(), peer, begun: None, bytes: 0 };
        let over = round.over.clone().cancelled_owned();
        let blocks = offer.stream(range).inspect_ok(move |block| sent.note(block.bytes.len()));
        blocks::response(blocks.take_until(over))
    }

    /// The round of a call, if its caller belongs to it, and the blocks that it asks for.
    async fn admit(
        &self,
        ticket: &[u8],
        session: u64,
        blocks: Option<v1::BlockRange>,
        caller: Option<Fingerprint>,
    ) -> Result<(Arc<Round>, BlockRange), Status> {
        // One answer to all: a stranger learns nothing from it.
        let refused =
            || Status::permission_denied("the caller does not take part in an exchange of this worker");
        let ticket = Ticket::from_bytes(ticket).ok_or_else(refused)?;
        let range = required(blocks, "blocks").and_then(BlockRange::try_from).map_err(invalid)?;
        let round = self.board.find(ticket, PATIENCE).await.ok_or_else(refused)?;
        if round.own.0 != session {
            return Err(Status::not_found("another worker is meant"));
        }
        let is_party = match caller {
            Some(fingerprint) => {
                let plan = round.plan.borrow();
                plan.peers.values().any(|peer| peer.fingerprint == Some(fingerprint))
            }
            None => !self.is_guarded,
        };
        if !is_party {
            return Err(refused());
        }
        Ok((round, range))
    }
}

/// Refuses a range that is not among the blocks.
fn check_range(range: BlockRange, blocks: &Blocks) -> Result<(), Status> {
    if range.end > blocks.count() {
        return Err(Status::invalid_argument(format!("there are no {range}")));
    }
    Ok(())
}

/// What is sent by one call; recorded when this is dropped.
struct Sent {
    metrics: WorkerMetrics,
    /// `None` if the caller names a session that is no party.
    peer: Option<String>,
    begun: Option<Instant>,
    bytes: usize,
}

impl Sent {
    fn note(&mut self, bytes: usize) {
        self.begun.get_or_insert_with(Instant::now);
        self.bytes += bytes;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let Some(begun) = self.begun else { return };
        self.metrics.moved(Direction::Sent, self.bytes, begun);
        if let Some(peer) = &self.peer {
            self.metrics.exchange().sent(peer, self.bytes, begun.elapsed());
        }
    }
}

#[cfg(test)]
mod tests;
