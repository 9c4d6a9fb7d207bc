//! Workers on the coordinator's own host. What goes between them and the coordinator crosses no link, but they share its
//! link to all others: a block that such a worker owns comes from the others over that link, although its sum needs none,
//! and it is passed on over that link to each of them, although the coordinator sends it only once to another owner.

use std::sync::Arc;

use lookbehind_common::blocks::BlockRange;
use lookbehind_common::ids::SessionId;

use crate::state::command::ExchangePlan;

/// Those of the owners who are to own blocks: all, or only those on hosts of their own. `beside` and `apart`: how many of
/// the workers of the request are on the coordinator's host, and how many are not.
pub(super) fn spare_the_link<T>(
    owners: Vec<T>,
    (beside, apart): (usize, usize),
    is_beside: impl Fn(&T) -> bool,
) -> Vec<T> {
    if !is_quicker_without(beside, apart) {
        return owners;
    }
    owners.into_iter().filter(|owner| !is_beside(owner)).collect()
}

/// Whether an exchange is quicker if workers on the coordinator's host own nothing. All links have the same rate; times
/// are in those of the weights over one link.
fn is_quicker_without(beside: usize, apart: usize) -> bool {
    if beside == 0 || apart < 2 {
        return false;
    }
    let (local, remote) = (beside as f64, apart as f64);
    // The coordinator sends each block once to its owner, and its host each partial that was made there once; an owner
    // gets its blocks of the partials of all workers but itself.
    let without = 1.0 + f64::max(1.0, f64::max(local, (local + remote - 1.0) / remote));
    // Each way, the host's link carries the blocks that workers on it own for each of the others, and those that they own
    // once.
    let with = 2.0 * f64::max(1.0, remote * (local + 1.0) / (local + remote));
    without < with
}

/// What a worker on the coordinator's host is told of an exchange: it gets all weights from the coordinator if it owns
/// nothing itself.
pub(super) fn plan_beside(session: SessionId, plan: &Arc<ExchangePlan>) -> Arc<ExchangePlan> {
    let of_weights = if plan.weights.is_empty() { &plan.ranges } else { &plan.weights };
    let owns =
        |ranges: &[(BlockRange, Option<SessionId>)]| ranges.iter().any(|(_, owner)| *owner == Some(session));
    let whole = of_weights.first().zip(of_weights.last());
    let whole = whole.and_then(|((first, _), (last, _))| BlockRange::new(first.first, last.end));
    match whole {
        Some(whole) if !owns(&plan.ranges) && !owns(&plan.weights) => {
            Arc::new(ExchangePlan { weights: vec![(whole, None)], ..ExchangePlan::clone(plan) })
        }
        _ => Arc::clone(plan),
    }
}

#[cfg(test)]
mod tests {
    use lookbehind_common::ids::{JobId, RequestId, Ticket};

    use super::*;

    #[test]
    fn one_worker_beside_the_coordinator_owns_nothing_and_a_crowd_does() {
        let owners = |beside: usize, apart: usize| {
            let all = Vec::from_iter(0..beside + apart);
            spare_the_link(all, (beside, apart), |owner| *owner < beside).len()
        };
        assert_eq!((owners(0, 4), owners(4, 0)), (4, 4), "there is nothing to choose");
        assert_eq!(owners(1, 1), 2, "one owner alone would be a star");
        assert_eq!((owners(1, 2), owners(1, 7), owners(2, 6)), (2, 7, 6));
        assert_eq!((owners(3, 2), owners(7, 2)), (5, 9), "their partials would all cross the link");
    }

    #[test]
    fn a_worker_beside_the_coordinator_gets_all_weights_from_it_unless_it_owns_some() {
        let [beside, other] = [1, 2].map(SessionId);
        let range = |first, end, owner| (BlockRange { first, end }, Some(owner));
        let plan = |ranges, weights| {
            let request = RequestId { job: JobId::from_entropy(1), outer_step: 2, index: 3 };
            let (peers, makers) = (Vec::new(), Vec::new());
            Arc::new(ExchangePlan {
                request,
                ticket: Ticket::from_entropy(1),
                peers,
                ranges,
                weights,
                makers,
            })
        };
        let all = |end| vec![(BlockRange { first: 0, end }, None)];

        let without = plan(vec![range(0, 3, other), range(3, 4, other)], vec![]);
        assert_eq!(plan_beside(beside, &without).weights, all(4));
        assert_eq!(plan_beside(beside, &without).ranges, without.ranges, "it still is asked for its partial");
        let others = plan(vec![range(0, 8, other)], vec![range(0, 4, other)]);
        assert_eq!(
            plan_beside(beside, &others).weights,
            all(4),
            "the blocks of the weights, not those of a partial"
        );
        for owning in [
            plan(vec![range(0, 3, other), range(3, 4, beside)], vec![]),
            plan(vec![], vec![range(0, 4, beside)]),
        ] {
            assert_eq!(plan_beside(beside, &owning), owning);
        }
    }
}
