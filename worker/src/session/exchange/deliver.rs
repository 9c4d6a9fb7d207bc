//! Uploads to the coordinator the parts of ranges that it has taken over.

use std::collections::BTreeSet;
use std::sync::Arc;

use lookbehind_common::blocks::BlockRange;
use lookbehind_common::reduction::Segment;
use tonic::Code;

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

/// Uploads a part. Tries again for as long as the round and the session last, unless its content is refused.
async fn upload(round: &Round, means: &Means, segment: Segment, range: BlockRange, partial: Arc<Offer>) {
    let mut backoff = Backoff::default();
    while let Err(status) =
        means.transfers.upload_blocks(&round.request, segment, range, Arc::clone(&partial)).await
    {
        means.failed(&status, &round.request, segment).await;
        if status.code() == Code::InvalidArgument || !means.transfers.pause(backoff.next()).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use lookbehind_common::ids::{ClusterId, FencingToken, Incarnation, SessionId, SessionSecret, Ticket};
    use lookbehind_identity::Access;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::session::exchange::peers::Peers;
    use crate::session::exchange::round::Board;
    use crate::session::exchange::round::tests::put_round;
    use crate::session::route::Route;
    use crate::session::transfer::Transfers;
    use crate::telemetry::WorkerMetrics;

    /// A session that is over, with a coordinator that nobody is.
    fn ended() -> Transfers {
        let access = Access::new("http://127.0.0.1:1", None).unwrap();
        let route = Route::network(access.clone(), access.endpoint(), access.authorize().unwrap());
        let fencing_token = FencingToken {
            cluster: ClusterId("c".into()),
            incarnation: Incarnation(1),
            session: SessionId(1),
            secret: SessionSecret::from_entropy(1),
        };
        let over = CancellationToken::new();
        over.cancel();
        let progress = Arc::new(AtomicU64::new(0));
        Transfers::new(route, fencing_token, Duration::from_secs(9), progress, over, WorkerMetrics::default())
    }

    /// Nothing waits any more then: trying again for ever would keep a thread busy for good, and the process from ending.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_upload_is_not_tried_again_when_the_session_is_over() {
        let board = Board::default();
        let round = put_round(&board, Ticket::from_entropy(1), None);
        let range = BlockRange { first: 0, end: 2 };
        let segment = Segment { first: 0, end: 1 };
        let elements = 2 * lookbehind_common::blocks::BLOCK_ELEMENTS + 3;
        let gradient = lookbehind_common::flat_buffer::FlatBuffer::zeros(elements);
        round.offer(segment, lookbehind_common::partial::Partial { gradient, ..Default::default() });
        let partial = round.partial(segment).await;
        let (messages, _received) = mpsc::channel(1);
        let means = Means { transfers: ended(), peers: Peers::new(None, WorkerMetrics::default()), messages };
        let uploading = tokio::spawn(async move { upload(&round, &means, segment, range, partial).await });
        uploading.await.unwrap();
    }
}
