//! Blocks of one partial on their way to the sum.

use std::sync::Arc;

use lookbehind_common::blocks::{BlockDigest, BlockRange};
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;
use lookbehind_proto::v1;
use lookbehind_proto::v1::session_request::Message;
use tokio::sync::{mpsc, watch};

use crate::session::exchange::adding::{Part, Values};
use crate::session::exchange::peers::{Fetch, Sink, Wanted};
use crate::session::exchange::round::{Means, Round};
use crate::session::transfer::said;

/// How many blocks a partial may be ahead of the first block that is not added. Without a bound, those of fast workers
/// would fill the memory while a slow one is waited for.
const AHEAD: u32 = 8;

/// A block that is to be added.
pub(super) struct Arrived {
    pub(super) segment: Segment,
    pub(super) number: u32,
    pub(super) part: Part,
}

/// Gets the blocks of one partial.
pub(super) struct Inbox {
    pub(super) round: Arc<Round>,
    pub(super) means: Means,
    pub(super) segment: Segment,
    pub(super) sender: mpsc::Sender<Arrived>,
    /// The first block that is not added.
    pub(super) reached: watch::Receiver<u32>,
    /// Memory for the bytes of the block that is being fetched.
    pub(super) block: FlatBuffer,
}

impl Inbox {
    /// Gets a range of blocks from the worker that made the partial, and reports if it cannot be reached.
    pub(super) async fn fetch(mut self, maker: SessionId, range: BlockRange) {
        let round = Arc::clone(&self.round);
        if maker == round.own {
            let partial = round.partial(self.segment).await;
            for number in range.numbers() {
                let Some(block) = partial.get(number).await else { return };
                let part = Part { values: Values::Own(block.bytes), digest: block.digest };
                if !self.pass(number, part).await {
                    return;
                }
            }
            return;
        }
        // Until then the link is for the weights: without this worker's own partial, those of others are of no use.
        let _ = tokio::time::timeout(self.means.transfers.idle(), round.own_weights()).await;
        let what = Fetch { round: &round, from: maker, wanted: Wanted::Partial(self.segment), late: None };
        let means = self.means.clone();
        if let Err(status) = means.peers.fetch(what, range, &mut self).await {
            let unreachable = v1::Unreachable {
                request: Some((&round.request).into()),
                session: maker.0,
                reason: said(&status),
            };
            means.tell(Message::Unreachable(unreachable)).await;
        }
    }

    /// The values of the block that was fetched.
    fn values(&mut self, number: u32) -> FlatBuffer {
        let block = std::mem::take(&mut self.block);
        let (kind, elements) = self.round.partial_blocks.place(number);
        match self.round.partial_blocks.format(kind) {
            ExchangeFormat::F32 => block,
            format => {
                let mut values = self.means.peers.memory().lend(elements.len());
                format.place(&mut values, 0, &block.as_bytes()[..elements.len() * format.bytes()]);
                values
            }
        }
    }

    /// Passes on a block when it is not too far ahead. Returns whether the next one is wanted.
    async fn pass(&mut self, number: u32, part: Part) -> bool {
        let near = self.reached.wait_for(|reached| number < reached.saturating_add(AHEAD)).await.is_ok();
        near && self.sender.send(Arrived { segment: self.segment, number, part }).await.is_ok()
    }
}

impl Sink for Inbox {
    fn memory(&mut self, number: u32) -> &mut [u8] {
        let (kind, elements) = self.round.partial_blocks.place(number);
        let bytes = elements.len() * self.round.partial_blocks.format(kind).bytes();
        self.block = self.means.peers.memory().lend(bytes.div_ceil(size_of::<f32>()));
        &mut self.block.as_bytes_mut()[..bytes]
    }

    async fn arrived(&mut self, number: u32, digest: BlockDigest) -> bool {
        self.means.transfers.advance();
        let values = Values::Fetched(self.values(number));
        self.pass(number, Part { values, digest }).await
    }
}
