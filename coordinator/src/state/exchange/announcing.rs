//! What makers announce of their partials, and what is compared with it.

use std::time::Duration;

use lookbehind_common::blocks::{BlockDigest, BlockRange};
use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;

use super::Exchange;

/// What becomes of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announcement {
    Taken,
    /// The number of its digests is not that of the blocks.
    WrongNumber,
    /// It differs from what was announced of the segment before.
    Differs,
}

impl Exchange {
    /// Notes the digests of a partial that a worker has computed.
    pub(crate) fn announce(
        &mut self,
        session: SessionId,
        segment: Segment,
        digests: Vec<BlockDigest>,
    ) -> Announcement {
        if digests.len() != self.blocks.count() as usize {
            return Announcement::WrongNumber;
        }
        match self.announced.get(&segment) {
            Some(known) if *known != digests => return Announcement::Differs,
            Some(_) => {}
            None => {
                self.announced.insert(segment, digests);
                self.announcers.insert(segment, session);
            }
        }
        self.settle();
        Announcement::Taken
    }

    /// Whether it was this worker that announced a segment.
    pub(crate) fn was_announced_by(&self, segment: Segment, session: SessionId) -> bool {
        self.announcers.get(&segment) == Some(&session)
    }

    /// Notes that all shards have been announced.
    pub(crate) fn note_all_announced(&mut self, now: Duration) {
        self.announced_at.get_or_insert(now);
    }

    /// Notes that announced partials are missing again.
    pub(crate) fn note_missing(&mut self) {
        self.announced_at = None;
    }

    /// Why blocks of a segment are not those that were announced; `None` if they are, or nothing was announced.
    pub(crate) fn contradicts(
        &self,
        segment: Segment,
        blocks: BlockRange,
        digests: &[BlockDigest],
    ) -> Option<String> {
        let announced = self.announced.get(&segment).and_then(|digests| blocks.of(digests));
        let differs = announced.is_some_and(|announced| announced != digests);
        differs.then(|| format!("{blocks} of {segment} are not those that were announced"))
    }
}
