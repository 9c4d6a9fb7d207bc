//! Adds the blocks of a range that this worker owns: fetches them from the workers that made the partials, adds each
//! block as soon as all its parts are here, and uploads the sums.

mod inbox;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use lookbehind_common::blocks::{BlockDigest, BlockRange};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;
use lookbehind_proto::transfer::blocks::Block;
use lookbehind_proto::v1;
use lookbehind_proto::v1::session_request::Message;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::inbox::{Arrived, Inbox};
use super::adding::{Part, sum};
use super::offer::Offer;
use super::plan::Plan;
use super::round::{Means, Round};
use crate::session::upload::failed_upload;

/// Blocks that may wait to be added.
const WAITING: usize = 32;

/// Adds and uploads a range, until that is done or not wanted any more.
pub(super) async fn gather(round: Arc<Round>, range: BlockRange, means: Means) {
    let over = round.over.clone();
    let sums = Arc::new(Offer::new(range));
    let adding = async {
        let addends = add(&round, range, &means, &sums).await;
        let Some(addends) = addends else { return sums.close() };
        let reduced = v1::Reduced {
            request: Some((&round.request).into()),
            blocks: Some(range.into()),
            addends: addends.iter().map(Run::to_message).collect(),
        };
        means.tell(Message::Reduced(reduced)).await;
    };
    let uploading = async {
        let uploaded =
            means.transfers.upload_blocks(&round.request, round.root, range, Arc::clone(&sums)).await;
        // Sums that are not wanted any more were closed above; that is no failure.
        if let Err(status) = uploaded
            && is_owned(&round.plan.borrow().clone(), round.own, range)
        {
            means.failed(&status, &round.request, round.root).await;
        }
    };
    // On the heap: the two together are large.
    over.run_until_cancelled(Box::pin(async { tokio::join!(adding, uploading) })).await;
}

fn is_owned(plan: &Plan, session: SessionId, range: BlockRange) -> bool {
    plan.owned_by(session).any(|owned| owned == range)
}

/// Adds the blocks of a range. Returns what was added; `None` if the range is not this worker's any more.
async fn add(round: &Arc<Round>, range: BlockRange, means: &Means, sums: &Offer) -> Option<Vec<Run>> {
    let (sender, mut arrived) = mpsc::channel(WAITING);
    let reached = watch::Sender::new(range.first);
    let mut fetches = Fetches { asked: BTreeSet::new(), tasks: JoinSet::new(), sender, reached };
    let mut plan = round.plan.subscribe();
    let mut parts: BTreeMap<u32, BTreeMap<Segment, Part>> = BTreeMap::new();
    let mut runs = Runs::default();
    let mut left = range.count();
    let memory = means.peers.memory();
    plan.mark_changed();
    while left > 0 {
        tokio::select! {
            Ok(()) = plan.changed() => {
                let known = plan.borrow_and_update().clone();
                if !is_owned(&known, round.own, range) {
                    return None;
                }
                fetches.begin(round, &known, range, means);
            }
            Some(Arrived { segment, number, part }) = arrived.recv() => {
                if runs.has(number) {
                    continue;
                }
                let of_block = parts.entry(number).or_default();
                of_block.insert(segment, part);
                let format = round.partial_blocks.format(round.partial_blocks.place(number).0);
                let begun = Instant::now();
                let Some((sum, used)) = sum(round.root, of_block, format, memory) else { continue };
                means.peers.metrics().exchange().added(begun.elapsed());
                let bytes = format.into_bytes(Arc::new(sum));
                sums.put(number, Block { bytes, digest: NO_DIGEST });
                runs.note(number, used);
                parts.remove(&number);
                left -= 1;
                fetches.reached(range.numbers().find(|number| !runs.has(*number)).unwrap_or(range.end));
            }
        }
    }
    Some(runs.into_runs())
}

/// The sums of an owner are uploaded with a checksum over all of them.
const NO_DIGEST: BlockDigest = BlockDigest::from_bytes([0; BlockDigest::BYTES]);

/// The tasks that fetch blocks of partials.
struct Fetches {
    /// What is being fetched.
    asked: BTreeSet<(Segment, SessionId)>,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<Arrived>,
    /// The first block that is not added.
    reached: watch::Sender<u32>,
}

impl Fetches {
    /// Begins to fetch what is new in the plan. Of several workers that were asked for a segment at once, the first one is
    /// asked; of those that were asked later, because the first one is late, all.
    fn begin(&mut self, round: &Arc<Round>, plan: &Plan, range: BlockRange, means: &Means) {
        let known: BTreeSet<Segment> = self.asked.iter().map(|(segment, _)| *segment).collect();
        let mut new = BTreeSet::new();
        for (segment, maker) in &plan.makers {
            let is_first = new.insert(*segment) && !known.contains(segment);
            let is_later = known.contains(segment);
            if !(is_first || is_later) || !self.asked.insert((*segment, *maker)) {
                continue;
            }
            let inbox = Inbox {
                round: Arc::clone(round),
                means: means.clone(),
                segment: *segment,
                sender: self.sender.clone(),
                reached: self.reached.subscribe(),
                block: FlatBuffer::default(),
            };
            self.tasks.spawn(inbox.fetch(*maker, range));
        }
    }

    /// Notes the first block that is not added.
    fn reached(&self, number: u32) {
        self.reached.send_if_modified(|reached| std::mem::replace(reached, number) != number);
    }
}

/// Consecutive blocks of one segment that were added.
#[derive(Debug)]
struct Run {
    segment: Segment,
    blocks: BlockRange,
    digest: BlockDigest,
}

impl Run {
    fn to_message(&self) -> v1::Addend {
        v1::Addend {
            segment: Some(self.segment.into()),
            blocks: Some(self.blocks.into()),
            digest: self.digest.as_bytes().to_vec().into(),
        }
    }
}

/// What was added so far.
#[derive(Debug, Default)]
struct Runs {
    done: BTreeSet<u32>,
    by_segment: BTreeMap<Segment, BTreeMap<u32, BlockDigest>>,
}

impl Runs {
    fn has(&self, block: u32) -> bool {
        self.done.contains(&block)
    }

    fn note(&mut self, block: u32, used: Vec<(Segment, BlockDigest)>) {
        self.done.insert(block);
        for (segment, digest) in used {
            self.by_segment.entry(segment).or_default().insert(block, digest);
        }
    }

    fn into_runs(self) -> Vec<Run> {
        let mut runs = Vec::new();
        for (segment, blocks) in self.by_segment {
            let blocks: Vec<(u32, BlockDigest)> = blocks.into_iter().collect();
            for run in blocks.chunk_by(|(one, _), (next, _)| one + 1 == *next) {
                let digests: Vec<BlockDigest> = run.iter().map(|(_, digest)| *digest).collect();
                let first = run.first().map_or(0, |(first, _)| *first);
                if let Some(blocks) = BlockRange::new(first, first + digests.len() as u32) {
                    runs.push(Run { segment, blocks, digest: BlockDigest::of_all(&digests) });
                }
            }
        }
        runs
    }
}

impl Means {
    /// Reports an upload that has failed.
    pub(super) async fn failed(
        &self,
        status: &tonic::Status,
        request: &lookbehind_common::ids::RequestId,
        segment: Segment,
    ) {
        if !self.transfers.is_over() {
            self.tell(failed_upload(status, request.into(), segment)).await;
        }
    }
}

#[cfg(test)]
mod tests;
