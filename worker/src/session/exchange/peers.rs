//! Calls to other workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lookbehind_common::blocks::{BlockDigest, BlockRange};
use lookbehind_common::flat_buffer::FlatBufferPool;
use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;
use lookbehind_identity::peers::{PeerCertificate, channel};
use lookbehind_proto::transfer::blocks::BlockReader;
use lookbehind_proto::transfer::body::{self, IncomingError};
use lookbehind_proto::transfer::frames::Frames;
use lookbehind_proto::v1;
use lookbehind_proto::v1::peer_service_server::SERVICE_NAME;
use lookbehind_telemetry::metrics::Direction;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::plan::{Peer, Plan};
use super::round::Round;
use crate::session::route;
use crate::session::transfer::said;
use crate::telemetry::WorkerMetrics;

/// For how long nothing may arrive from another worker, whatever is tried, before it counts as unreachable. It may not
/// have heard of the request yet.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a connection may take to be opened.
const CONNECT: Duration = Duration::from_millis(1500);
/// Time before the second attempt; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// What the link of a worker, or of the coordinator, has in flight for an exchange, in bytes, and the least share of one
/// call. More would only wait in the queues of the links, where some connections then get more than others: but a block is
/// of use only when all its parts are here, and what an owner gets late it passes on late to all others.
const IN_FLIGHT: u32 = 1 << 20;
const LEAST_WINDOW: u32 = 64 << 10;
/// The window of a connection is no limit: those of its calls are. Blocks of one partial may wait for those of another one
/// of the same worker, which must not wait for room in a window that the first ones fill.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// Idle blocks whose memory is reused.
const IDLE_BLOCKS: usize = 256;

/// The flow-control window of each of several calls that share a link.
pub(super) fn share(calls: usize) -> u32 {
    (IN_FLIGHT / u32::try_from(calls.max(1)).unwrap_or(u32::MAX)).max(LEAST_WINDOW)
}

/// What is fetched from another worker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// Blocks of the weights.
    Weights,
    /// Blocks of the partial of a segment.
    Partial(Segment),
}

/// What is fetched from whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetch<'a> {
    pub(super) round: &'a Round,
    pub(super) from: SessionId,
    pub(super) wanted: Wanted,
    /// How long a block may take before the other worker is given up. `None` where that is for the coordinator to say:
    /// the other worker may still be computing.
    pub(super) late: Option<Duration>,
}

impl Fetch<'_> {
    /// Runs a step of fetching, for at most the time that a block may take.
    async fn in_time<T>(&self, act: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let Some(late) = self.late else { return act.await };
        let ended = tokio::time::timeout(late, act).await;
        ended.unwrap_or_else(|_| Err(Status::deadline_exceeded("a block is late")))
    }
}

/// Takes the blocks of a range.
pub(super) trait Sink {
    /// Memory for a block, of its length.
    fn memory(&mut self, number: u32) -> &mut [u8];

    /// The memory holds a block with this digest. Returns whether the next one is wanted.
    fn arrived(&mut self, number: u32, digest: BlockDigest) -> impl Future<Output = bool> + Send;
}

/// The connections to other workers. Clones share them.
#[derive(Clone, Debug)]
pub(in crate::session) struct Peers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None` in plain text.
    certificate: Option<Arc<PeerCertificate>>,
    channels: Mutex<HashMap<SessionId, (Peer, Channel)>>,
    memory: FlatBufferPool,
    metrics: WorkerMetrics,
}

impl Peers {
    /// No connections yet; with a certificate, they will be encrypted.
    pub(super) fn new(certificate: Option<Arc<PeerCertificate>>, metrics: WorkerMetrics) -> Self {
        let memory = FlatBufferPool::new(IDLE_BLOCKS);
        Self(Arc::new(Shared { certificate, channels: Mutex::default(), memory, metrics }))
    }

    /// Notes which other workers take part in an exchange. One that joins it later has no series of its own.
    pub(super) fn meet(&self, plan: &Plan, own: SessionId) {
        let others = plan.peers.iter().filter(|(session, _)| **session != own);
        self.0.metrics.exchange().meet(others.map(|(_, peer)| peer.place.address.as_str()));
    }

    /// Counters of this worker.
    pub(super) fn metrics(&self) -> &WorkerMetrics {
        &self.0.metrics
    }

    /// Forgets all connections, at the end of a session.
    pub(in crate::session) fn clear(&self) {
        self.0.channels.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A connection to another worker, one of several with which this one exchanges.
    fn channel(&self, session: SessionId, peer: &Peer, others: usize) -> Result<Channel, Status> {
        let mut channels = self.0.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, channel)) = channels.get(&session)
            && known == peer
        {
            return Ok(channel.clone());
        }
        let secured = match (&self.0.certificate, peer.fingerprint) {
            (Some(own), Some(other)) => Some((own.as_ref(), other)),
            (None, None) => None,
            // Never in plain text where there are credentials.
            _ => {
                return Err(Status::unauthenticated(
                    "the other worker has no certificate, or this one has none",
                ));
            }
        };
        let endpoint = route::transfers(Endpoint::from_static("http://worker"))
            .connect_timeout(CONNECT)
            .initial_stream_window_size(share(others))
            .initial_connection_window_size(CONNECTION_WINDOW);
        let connected = channel(&endpoint, peer.place.clone(), secured);
        let connected = connected.map_err(|error| Status::internal(error.to_string()))?;
        channels.insert(session, (peer.clone(), connected.clone()));
        Ok(connected)
    }

    /// Fetches a range of blocks from another worker, until its sink wants no more. Tries again, from the first missing
    /// block on, while the other worker cannot be reached; not if it says that it does not have blocks of the weights.
    pub(super) async fn fetch(
        &self,
        what: Fetch<'_>,
        range: BlockRange,
        sink: &mut impl Sink,
    ) -> Result<(), Status> {
        let patience = what.late.map_or(PATIENCE, |late| late.min(PATIENCE));
        let mut next = range.first;
        let mut wait = FIRST_WAIT;
        let mut last_arrival = Instant::now();
        while let Some(rest) = BlockRange::new(next, range.end) {
            let before = next;
            let error = match self.try_fetch(what, rest, &mut next, sink).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // Something has arrived: the connection is not what is missing.
            if next > before {
                (last_arrival, wait) = (Instant::now(), FIRST_WAIT);
            }
            if last_arrival.elapsed() >= patience || is_final(what.wanted, &error) {
                return Err(error);
            }
            tracing::debug!(session = %what.from, error = said(&error), "blocks cannot be fetched; trying again");
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Ok(())
    }

    async fn try_fetch(
        &self,
        what: Fetch<'_>,
        range: BlockRange,
        next: &mut u32,
        sink: &mut impl Sink,
    ) -> Result<(), Status> {
        let Fetch { round, from, wanted, .. } = what;
        let (peer, others) = {
            let plan = round.plan.borrow();
            (plan.peers.get(&from).cloned(), plan.peers.len().saturating_sub(1))
        };
        let peer = peer.ok_or_else(|| Status::not_found("the coordinator has not told its address"))?;
        let channel = self.channel(from, &peer, others)?;
        let ticket = round.ticket.to_bytes().to_vec().into();
        let (asked, caller) = (Some(range.into()), round.own.0);
        let request = match wanted {
            Wanted::Weights => {
                let request = v1::FetchWeightsRequest { ticket, blocks: asked, session: from.0, caller };
                let message = body::request(Frames::message(&request));
                body::call(SERVICE_NAME, "FetchWeights", message)?
            }
            Wanted::Partial(segment) => {
                let segment = Some(segment.into());
                let request =
                    v1::FetchPartialRequest { ticket, blocks: asked, segment, session: from.0, caller };
                let message = body::request(Frames::message(&request));
                body::call(SERVICE_NAME, "FetchPartial", message)?
            }
        };
        let mut received = Received::new(&self.0.metrics, &peer.place.address, wanted);
        let answer = what.in_time(route::call(channel, request)).await?;
        let mut reader = BlockReader::new(answer.into_body(), range);
        while let Some(number) = reader.next_number() {
            let memory = sink.memory(number);
            let length = memory.len();
            let read = async { reader.read(memory).await.map_err(failed) };
            let digest = what.in_time(read).await?;
            received.note(length);
            *next = number + 1;
            if !sink.arrived(number, digest).await {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Memory for blocks.
    pub(super) fn memory(&self) -> &FlatBufferPool {
        &self.0.memory
    }
}

/// Whether it is in vain to ask again: the other worker does not pass on these blocks of the weights, for example because it
/// had the version before the request.
fn is_final(wanted: Wanted, error: &Status) -> bool {
    matches!(wanted, Wanted::Weights) && error.code() == Code::FailedPrecondition
}

/// What was received by one call; recorded when this is dropped.
struct Received<'a> {
    metrics: &'a WorkerMetrics,
    peer: &'a str,
    wanted: Wanted,
    begun: Instant,
    first: Option<Instant>,
    bytes: usize,
}

impl<'a> Received<'a> {
    fn new(metrics: &'a WorkerMetrics, peer: &'a str, wanted: Wanted) -> Self {
        Self { metrics, peer, wanted, begun: Instant::now(), first: None, bytes: 0 }
    }

    fn note(&mut self, bytes: usize) {
        self.first.get_or_insert_with(Instant::now);
        self.bytes += bytes;
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        let first = self.first.unwrap_or_else(Instant::now);
        let waiting = first - self.begun;
        self.metrics.exchange().received(self.peer, self.bytes, waiting, first.elapsed());
        // Weights are counted as a whole, wherever their blocks came from.
        if matches!(self.wanted, Wanted::Partial(_)) {
            self.metrics.moved(Direction::Received, self.bytes, first);
        }
    }
}

/// The status of a transfer that failed.
pub(super) fn failed(error: IncomingError) -> Status {
    match error {
        IncomingError::Call(status) => status,
        IncomingError::Transfer(error) => Status::data_loss(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_have_the_weights_is_not_asked_again() {
        let partial = Wanted::Partial(Segment { first: 0, end: 1 });
        let refused = Status::failed_precondition("this worker does not have the block");
        assert!(is_final(Wanted::Weights, &refused));
        assert!(!is_final(partial, &refused));
        assert!(!is_final(Wanted::Weights, &Status::unavailable("it has not heard of the request")));
    }
}
