//! Uploads to the coordinator the parts of ranges that it has taken over.

use std::collections::BTreeSet;
use std::sync::Arc;

use lookbehind_common::blocks::BlockRange;
use lookbehind_common::reduction::Segment;

use super::offer::Offer;
use super::round::{Means, Round};
use crate::session::backoff::Backoff;

/// Uploads what the coordinator asks for, until the round is over.
pub(super) async fn deliver(round: Arc<Round>, means: Means) {
    let over = round.over.clone();
    over.run_until_cancelled(async {
        let mut plan = round.plan.subscribe();
        let mut done = BTreeSet::new();
        loop {
            let more = round.more_computed();
            let known = plan.borrow_and_update().clone();
            let wanted = known.ranges.iter().filter(|(_, owner)| owner.is_none()).map(|(range, _)| *range);
            let wanted: Vec<BlockRange> = wanted.collect();
            for (segment, partial) in round.computed_partials() {
                for range in &wanted {
                    if done.insert((segment, *range)) {
                        upload(&round, &means, segment, *range, Arc::clone(&partial)).await;
                    }
                }
            }
            tokio::select! {
                () = more => {}
                Ok(()) = plan.changed() => {}
            }
        }
    })
    .await;
}

/// Uploads a part, and tries again for as long as the round lasts.
async fn upload(round: &Round, means: &Means, segment: Segment, range: BlockRange, partial: Arc<Offer>) {
    let mut backoff = Backoff::default();
    while let Err(status) =
        means.transfers.upload_blocks(&round.request, segment, range, Arc::clone(&partial)).await
    {
        means.failed(&status, &round.request, segment).await;
        means.transfers.pause(backoff.next()).await;
    }
}
