//! Blocks that become known one by one, and are handed to everyone who waits for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::Stream;
use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::model_state::ModelState;
use lookbehind_proto::transfer::blocks::Block;
use rayon::prelude::*;
use tokio::sync::Notify;
use tonic::Status;

/// Blocks that are made side by side before others hear of them.
const GROUP: usize = 16;

/// A range of blocks, of which some may not be there yet.
#[derive(Debug)]
pub(in crate::session) struct Offer {
    range: BlockRange,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    blocks: Vec<Option<Block>>,
    /// Whether the missing ones will not come.
    is_closed: bool,
}

impl Offer {
    /// A range of blocks that are still to come.
    pub(in crate::session) fn new(range: BlockRange) -> Self {
        let blocks = vec![None; range.count() as usize];
        let state = Mutex::new(State { blocks, is_closed: false });
        Self { range, state, changed: Notify::new() }
    }

    /// Adds the blocks `order` of two flat buffers, each group as soon as its blocks are made. Returns the digests, by the
    /// numbers of the blocks; those of other blocks are zero.
    pub(in crate::session) fn fill(
        &self,
        blocks: &Blocks,
        values: &ModelState<Arc<FlatBuffer>>,
        order: &[u32],
    ) -> Vec<BlockDigest> {
        let made = |number: &u32| {
            let (kind, elements) = blocks.place(*number);
            let bytes = blocks.format(kind).bytes_within(&values[kind], elements);
            (*number, Block { digest: BlockDigest::of(&bytes), bytes })
        };
        let mut all = vec![BlockDigest::from_bytes([0; BlockDigest::BYTES]); blocks.count() as usize];
        for group in order.chunks(GROUP) {
            let group: Vec<(u32, Block)> = group.par_iter().map(made).collect();
            for (number, block) in &group {
                all[*number as usize] = block.digest;
            }
            self.put_all(group);
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a block. One outside the range is ignored.
    pub(in crate::session) fn put(&self, number: u32, block: Block) {
        self.put_all([(number, block)]);
    }

    fn put_all(&self, blocks: impl IntoIterator<Item = (u32, Block)>) {
        let mut state = self.lock();
        for (number, block) in blocks {
            let index = number.checked_sub(self.range.first).map(|index| index as usize);
            if let Some(place) = index.and_then(|index| state.blocks.get_mut(index)) {
                *place = Some(block);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The blocks that are missing will not come.
    pub(in crate::session) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_waiters();
    }

    /// Waits for a block; `None` if it will not come.
    pub(in crate::session) async fn get(&self, number: u32) -> Option<Block> {
        let index = number.checked_sub(self.range.first)? as usize;
        loop {
            let changed = self.changed.notified();
            {
                let state = self.lock();
                match state.blocks.get(index)? {
                    Some(block) => return Some(block.clone()),
                    None if state.is_closed => return None,
                    None => {}
                }
            }
            changed.await;
        }
    }

    /// The blocks of a range in order, each when it is there. Ends with an error if one will not come.
    pub(in crate::session) fn stream(
        self: Arc<Self>,
        range: BlockRange,
    ) -> impl Stream<Item = Result<Block, Status>> + Send {
        futures_util::stream::try_unfold((self, range.first), move |(offer, number)| async move {
            if number == range.end {
                return Ok(None);
            }
            match offer.get(number).await {
                Some(block) => Ok(Some((block, (offer, number + 1)))),
                None => Err(Status::failed_precondition("this worker does not have the block")),
            }
        })
    }
}

#[cfg(test)]
mod tests;
