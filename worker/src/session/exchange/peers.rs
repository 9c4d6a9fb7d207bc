//! Calls to other workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lookbehind_common::blocks::{BlockDigest, BlockRange};
use lookbehind_common::flat_buffer::{FlatBuffer, FlatBufferPool};
use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;
use lookbehind_identity::peers::{PeerCertificate, channel};
use lookbehind_proto::transfer::blocks::BlockReader;
use lookbehind_proto::transfer::body::{self, IncomingError};
use lookbehind_proto::transfer::frames::Frames;
use lookbehind_proto::v1;
use lookbehind_proto::v1::peer_service_server::SERVICE_NAME;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::plan::Peer;
use super::round::Round;
use crate::session::route;
use crate::session::transfer::said;

/// For how long nothing may arrive from another worker, whatever is tried, before it counts as unreachable. It may not
/// have heard of the request yet.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a connection may take to be opened.
const CONNECT: Duration = Duration::from_millis(1500);
/// Time before the second attempt; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// Idle blocks whose memory is reused.
const IDLE_BLOCKS: usize = 64;

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
}

impl Peers {
    /// No connections yet; with a certificate, they will be encrypted.
    pub(super) fn new(certificate: Option<Arc<PeerCertificate>>) -> Self {
        let memory = FlatBufferPool::new(IDLE_BLOCKS);
        Self(Arc::new(Shared { certificate, channels: Mutex::default(), memory }))
    }

    /// Forgets all connections, at the end of a session.
    pub(in crate::session) fn clear(&self) {
        self.0.channels.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn channel(&self, session: SessionId, peer: &Peer) -> Result<Channel, Status> {
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
        let endpoint = route::transfers(Endpoint::from_static("http://worker")).connect_timeout(CONNECT);
        let connected = channel(&endpoint, peer.address.clone(), secured);
        let connected = connected.map_err(|error| Status::internal(error.to_string()))?;
        channels.insert(session, (peer.clone(), connected.clone()));
        Ok(connected)
    }

    /// Fetches a range of blocks from another worker and sends each, with its number, as `make` returns it, until nobody
    /// receives them. Tries again, from the first missing block on, while the other worker cannot be reached.
    pub(super) async fn fetch<T>(
        &self,
        what: Fetch<'_>,
        range: BlockRange,
        make: impl Fn(u32, FlatBuffer, BlockDigest) -> T,
        sink: &mpsc::Sender<T>,
    ) -> Result<(), Status> {
        let mut next = range.first;
        let mut wait = FIRST_WAIT;
        let mut last_arrival = Instant::now();
        while let Some(rest) = BlockRange::new(next, range.end) {
            let before = next;
            let error = match self.try_fetch(what, rest, &mut next, &make, sink).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // Something has arrived: the connection is not what is missing.
            if next > before {
                (last_arrival, wait) = (Instant::now(), FIRST_WAIT);
            }
            if last_arrival.elapsed() >= PATIENCE {
                return Err(error);
            }
            tracing::debug!(session = %what.from, error = said(&error), "blocks cannot be fetched; trying again");
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Ok(())
    }

    async fn try_fetch<T>(
        &self,
        Fetch { round, from, wanted }: Fetch<'_>,
        range: BlockRange,
        next: &mut u32,
        make: &impl Fn(u32, FlatBuffer, BlockDigest) -> T,
        sink: &mpsc::Sender<T>,
    ) -> Result<(), Status> {
        let peer = round.plan.borrow().peers.get(&from).cloned();
        let peer = peer.ok_or_else(|| Status::not_found("the coordinator has not told its address"))?;
        let channel = self.channel(from, &peer)?;
        let ticket = round.ticket.to_bytes().to_vec().into();
        let asked = Some(range.into());
        let (blocks, request) = match wanted {
            Wanted::Weights => {
                let request = v1::FetchWeightsRequest { ticket, blocks: asked, session: from.0 };
                let message = body::request(Frames::message(&request));
                (round.weight_blocks, body::call(SERVICE_NAME, "FetchWeights", message)?)
            }
            Wanted::Partial(segment) => {
                let segment = Some(segment.into());
                let request = v1::FetchPartialRequest { ticket, blocks: asked, segment, session: from.0 };
                let message = body::request(Frames::message(&request));
                (round.partial_blocks, body::call(SERVICE_NAME, "FetchPartial", message)?)
            }
        };
        let answer = route::call(channel, request).await?;
        let mut reader = BlockReader::new(answer.into_body(), blocks, range, self.0.memory.clone());
        while let Some((number, block, digest)) = reader.next().await.map_err(failed)? {
            *next = number + 1;
            if sink.send(make(number, block, digest)).await.is_err() {
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

/// The status of a transfer that failed.
pub(super) fn failed(error: IncomingError) -> Status {
    match error {
        IncomingError::Call(status) => status,
        IncomingError::Transfer(error) => Status::data_loss(error.to_string()),
    }
}
