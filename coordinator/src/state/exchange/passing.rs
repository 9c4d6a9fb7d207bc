//! A request whose workers have no partials to exchange, but pass its weights on to each other: a test.

use std::collections::BTreeSet;

use lookbehind_common::blocks::{BlockRange, Blocks};
use lookbehind_common::ids::{RequestId, SessionId, Ticket};

use super::{owned, ranges};
use crate::state::command::{ExchangePlan, PeerAddress};

/// Who passes on which blocks of the weights of a request. If a worker that does is lost or late, the others ask the
/// coordinator.
#[derive(Debug)]
pub(crate) struct Passing {
    ticket: Ticket,
    ranges: Vec<(BlockRange, SessionId)>,
    /// Workers that pass on blocks or were asked for segments.
    parties: BTreeSet<SessionId>,
    /// Whether the workers must be told of changes.
    is_changed: bool,
}

impl Passing {
    /// The workers pass on the blocks in proportion to their shares.
    pub(crate) fn new(ticket: Ticket, weights: &Blocks, owners: &[(SessionId, f64)]) -> Self {
        let ranges = ranges::divide(weights, owners);
        let parties = ranges.iter().map(|(_, owner)| *owner).collect();
        Self { ticket, ranges, parties, is_changed: false }
    }

    /// Notes that a worker was asked for segments. Those that were told before let it connect only when they hear of it.
    pub(crate) fn note_party(&mut self, session: SessionId) {
        self.is_changed |= self.parties.insert(session);
    }

    /// What the workers are to be told if it has changed since the last call.
    pub(crate) fn take_changes(
        &mut self,
        request: &RequestId,
        address: impl Fn(SessionId) -> Option<PeerAddress>,
    ) -> Option<ExchangePlan> {
        std::mem::take(&mut self.is_changed).then(|| self.plan(request, address))
    }

    /// What the workers are told.
    pub(crate) fn plan(
        &self,
        request: &RequestId,
        address: impl Fn(SessionId) -> Option<PeerAddress>,
    ) -> ExchangePlan {
        ExchangePlan {
            request: request.clone(),
            ticket: self.ticket,
            peers: self.parties.iter().copied().filter_map(address).collect(),
            ranges: Vec::new(),
            weights: self.ranges.iter().copied().map(owned).collect(),
            makers: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use lookbehind_common::ids::JobId;
    use lookbehind_common::model_state::ModelState;

    use super::*;
    use crate::state::event::PeerEndpoint;

    #[test]
    fn a_worker_that_comes_later_is_told_who_has_the_blocks_and_they_are_told_of_it() {
        let request = RequestId { job: JobId::from_entropy(1), outer_step: 2, index: 3 };
        let weights = Blocks::of_size(ModelState { parameters: 8, statistics: 0 }, 1);
        let [a, b, late] = [1, 2, 3].map(SessionId);
        let mut passing = Passing::new(Ticket::from_entropy(1), &weights, &[(a, 1.0), (b, 3.0)]);
        let address = |session| {
            let endpoint = PeerEndpoint { address: "host:1".into(), fingerprint: None, socket: None };
            Some(PeerAddress { session, endpoint })
        };
        passing.note_party(a);
        assert_eq!(passing.take_changes(&request, address), None, "the assignment says it");
        passing.note_party(late);
        let plan = passing.take_changes(&request, address).unwrap();
        assert!(plan.ranges.is_empty(), "there are no partials to be added");
        let ranges =
            [(0, 2, a), (2, 8, b)].map(|(first, end, owner)| owned((BlockRange { first, end }, owner)));
        assert_eq!(plan.weights, ranges);
        assert_eq!(Vec::from_iter(plan.peers.iter().map(|peer| peer.session)), [a, b, late]);
        assert_eq!(passing.take_changes(&request, address), None);
    }
}
