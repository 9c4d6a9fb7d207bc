//! Gets the weights of a round from several sides at once: what this worker owns from the coordinator, the rest from the
//! other workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lookbehind_common::blocks::{BlockDigest, BlockRange};
use lookbehind_common::flat_buffer::{FlatBuffer, shared_bytes};
use lookbehind_common::ids::SessionId;
use lookbehind_common::model_state::Weights;
use lookbehind_proto::transfer::blocks::{Block, BlockReader};
use lookbehind_telemetry::metrics::Direction;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::peers::{Fetch, Peers, Wanted, failed};
use super::round::{Means, Round};
use crate::session::transfer::{Transfers, said};

/// Blocks that may wait to be copied.
const WAITING: usize = 8;
/// A block is late after this many times what all blocks took the last time.
const PATIENCE: u32 = 4;
/// Shortest patience with another worker.
const LEAST_PATIENCE: Duration = Duration::from_millis(250);

/// A verified block and its number.
type Arrived = (u32, Arc<FlatBuffer>);

impl Round {
    /// Gets one version of a job's weights, whose blocks have these digests; `None` if it is no longer served. `usual`:
    /// how long it took the last time.
    pub(in crate::session) async fn get_weights(
        self: &Arc<Self>,
        means: &Means,
        version: u64,
        digests: Arc<[BlockDigest]>,
        usual: Option<Duration>,
    ) -> Result<Option<Weights>, Status> {
        if digests.len() != self.weight_blocks.count() as usize {
            return Err(Status::data_loss("expected the digests of all blocks of the weights"));
        }
        let begun = Instant::now();
        let idle = means.transfers.idle();
        let patience = usual.map_or(idle, |usual| (usual * PATIENCE).clamp(LEAST_PATIENCE, idle));
        let (sender, mut arrived) = mpsc::channel(WAITING);
        let mut sources = JoinSet::new();
        for (range, owner) in self.plan.borrow().of_weights().to_vec() {
            let source = Source {
                round: Arc::clone(self),
                means: means.clone(),
                version,
                digests: Arc::clone(&digests),
                patience,
                sender: sender.clone(),
                range,
            };
            let from = owner.filter(|owner| *owner != self.own);
            sources.spawn(source.run(from));
        }
        drop(sender);
        let lengths = self.weight_blocks.flat_lengths();
        let mut weights = lengths.map(|length| means.transfers.memory().lend(length));
        let mut count = 0;
        while let Some((number, block)) = arrived.recv().await {
            let (kind, elements) = self.weight_blocks.place(number);
            weights[kind][elements].copy_from_slice(&block);
            count += 1;
        }
        while let Some(ended) = sources.join_next().await {
            match ended.map_err(|error| Status::internal(error.to_string()))? {
                Ok(()) => {}
                Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {
                    return Ok(None);
                }
                Err(status) => return Err(status),
            }
        }
        if count != self.weight_blocks.count() {
            return Err(Status::data_loss("some blocks of the weights are missing"));
        }
        let bytes = lengths.parameters + lengths.statistics;
        means.transfers.metrics().moved(Direction::Received, bytes * size_of::<f32>(), begun);
        Ok(Some(weights.map(Arc::new)))
    }

    /// This worker does not get the weights of the round: others must not wait for it.
    pub(in crate::session) fn has_no_weights(&self) {
        self.weights.close();
    }
}

/// Gets one range of the weights.
struct Source {
    round: Arc<Round>,
    means: Means,
    version: u64,
    digests: Arc<[BlockDigest]>,
    /// How long to wait for a block of another worker.
    patience: Duration,
    sender: mpsc::Sender<Arrived>,
    range: BlockRange,
}

impl Source {
    /// Gets the range from another worker, or from the coordinator; what the other worker does not deliver, from the
    /// coordinator as well.
    async fn run(self, from: Option<SessionId>) -> Result<(), Status> {
        let mut next = self.range.first;
        if let Some(from) = from
            && let Err(reason) = self.fetch_from_peer(from, &mut next).await
        {
            tracing::debug!(session = %from, reason, "the coordinator is asked for blocks of the weights");
        }
        match BlockRange::new(next, self.range.end) {
            Some(rest) => self.fetch_from_coordinator(rest).await,
            None => Ok(()),
        }
    }

    async fn fetch_from_peer(&self, from: SessionId, next: &mut u32) -> Result<(), String> {
        let (passed, mut blocks) = mpsc::channel(1);
        let peers: Peers = self.means.peers.clone();
        let what = Fetch { round: &self.round, from, wanted: Wanted::Weights };
        let fetching = async {
            let block = |number, block, digest| (number, block, digest);
            let fetched = peers.fetch(what, self.range, block, &passed).await;
            drop(passed);
            fetched
        };
        let taking = async {
            loop {
                match tokio::time::timeout(self.patience, blocks.recv()).await {
                    Ok(Some((number, block, digest))) => {
                        if self.digests.get(number as usize) != Some(&digest) {
                            return Err("a block is not the one that it should be".to_owned());
                        }
                        *next = number + 1;
                        self.arrived(number, block).await;
                    }
                    Ok(None) => return Ok(()),
                    Err(_) => return Err("a block is late".to_owned()),
                }
            }
        };
        tokio::select! {
            taken = taking => taken,
            Err(status) = fetching => Err(said(&status)),
        }
    }

    async fn fetch_from_coordinator(&self, range: BlockRange) -> Result<(), Status> {
        let transfers: &Transfers = &self.means.transfers;
        let body = transfers.download_blocks(&self.round.request.job, self.version, range).await?;
        let memory = self.means.peers.memory().clone();
        let mut reader = BlockReader::new(body, self.round.weight_blocks, range, memory);
        loop {
            let next = transfers.in_time(async { reader.next().await.map_err(failed) }).await?;
            let Some((number, block, digest)) = next else { return Ok(()) };
            if self.digests.get(number as usize) != Some(&digest) {
                return Err(Status::data_loss("a block is not the one that it should be"));
            }
            self.arrived(number, block).await;
        }
    }

    /// Passes on a verified block.
    async fn arrived(&self, number: u32, block: FlatBuffer) {
        self.means.transfers.advance();
        let digest = self.digests[number as usize];
        let block = Arc::new(block);
        if self.round.passes_on(BlockRange { first: number, end: number + 1 }) {
            self.round.weights.put(number, Block { bytes: shared_bytes(&block), digest });
        }
        // The receiver is dropped only when the weights are not wanted any more.
        let _ = self.sender.send((number, block)).await;
    }
}
