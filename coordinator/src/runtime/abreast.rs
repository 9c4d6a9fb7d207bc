//! Downloads of ranges of one version of a job's weights keep abreast of each other. Each worker passes its range on to all
//! others, so that all of them wait for the range that is downloaded last; left to themselves, connections that share a
//! link get unequal parts of it, and the differences do not go away by themselves: what a worker is sent by the others
//! delays its own range further.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, stream};
use lookbehind_proto::transfer::blocks::Block;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many blocks a download may be ahead of where the slowest one would put it.
const LEAD: usize = 2;
/// A download that has taken no block for as long is not waited for: its worker may be gone.
const PATIENCE: Duration = Duration::from_millis(50);

/// The downloads of ranges of one version.
#[derive(Debug, Default)]
pub(crate) struct Abreast {
    lanes: Mutex<Lanes>,
    /// Notified when a download has advanced, or is over.
    advanced: Notify,
}

#[derive(Debug, Default)]
struct Lanes {
    next: u64,
    lanes: HashMap<u64, Lane>,
}

/// One download.
#[derive(Clone, Copy, Debug)]
struct Lane {
    /// Blocks that were handed over.
    taken: usize,
    /// Blocks of the range.
    all: usize,
    /// When the last one was.
    at: Instant,
}

impl Lane {
    /// Whether another download, of which `taken` of `all` blocks were handed over, is too far ahead of this one.
    fn is_behind(&self, taken: usize, all: usize) -> bool {
        taken.saturating_sub(LEAD) * self.all > self.taken * all
    }
}

impl Lanes {
    /// A new download of so many blocks; returns its number.
    fn open(&mut self, all: usize, now: Instant) -> u64 {
        self.next += 1;
        self.lanes.insert(self.next, Lane { taken: 0, all, at: now });
        self.next
    }

    /// Has a download advance by a block, or tells until when the slowest of the others is waited for.
    fn advance(&mut self, number: u64, now: Instant) -> Option<Instant> {
        let own = *self.lanes.get(&number)?;
        let behind = |lane: &&Lane| lane.at + PATIENCE > now && lane.is_behind(own.taken, own.all);
        let until = self.lanes.values().filter(behind).map(|lane| lane.at + PATIENCE).max();
        if until.is_none() {
            self.lanes.insert(number, Lane { taken: own.taken + 1, at: now, ..own });
        }
        until
    }
}

impl Abreast {
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        // No code panics while it holds the lock.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A range of blocks, each when its download is not too far ahead of the others.
    pub(crate) fn serve(self: &Arc<Self>, blocks: Vec<Block>) -> impl Stream<Item = Block> + Send + use<> {
        let number = self.lock().open(blocks.len(), Instant::now());
        let download = Download { abreast: Arc::clone(self), number };
        stream::unfold((download, blocks.into_iter()), async |(download, mut blocks)| {
            let block = blocks.next()?;
            download.advance().await;
            Some((block, (download, blocks)))
        })
    }
}

/// A download that counts until this is dropped.
struct Download {
    abreast: Arc<Abreast>,
    number: u64,
}

impl Download {
    /// Waits until another block may be handed over, and notes that it is.
    async fn advance(&self) {
        loop {
            let changed = self.abreast.advanced.notified();
            let until = self.abreast.lock().advance(self.number, Instant::now());
            let Some(until) = until else { break };
            // At the latest when the download that is waited for counts as gone.
            let _ = tokio::time::timeout_at(until, changed).await;
        }
        self.abreast.advanced.notify_waiters();
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.abreast.lock().lanes.remove(&self.number);
        self.abreast.advanced.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
