use lookbehind_identity::peers::Place;

use super::*;
use crate::session::exchange::plan::Peer;

/// Puts a round on a board: this worker is session 1, owns the first two of three blocks, and takes part with session
/// 2, which has this fingerprint.
pub(in crate::session::exchange) fn put_round(
    board: &Board,
    ticket: Ticket,
    other: Option<Fingerprint>,
) -> Arc<Round> {
    let plan = Plan {
        request: RequestId { job: lookbehind_common::ids::JobId::from_entropy(1), outer_step: 0, index: 0 },
        ticket,
        peers: BTreeMap::from([(
            SessionId(2),
            Peer { place: Place { address: "127.0.0.1:1".into(), socket: None }, fingerprint: other },
        )]),
        ranges: vec![
            (BlockRange { first: 0, end: 2 }, Some(SessionId(1))),
            (BlockRange { first: 2, end: 3 }, Some(SessionId(2))),
        ],
        weights: Vec::new(),
        makers: vec![(Segment { first: 0, end: 1 }, SessionId(1))],
    };
    let elements = 2 * lookbehind_common::blocks::BLOCK_ELEMENTS + 3;
    let model = ModelState { parameters: elements, statistics: 0 };
    let format = lookbehind_common::exchange_format::ExchangeFormat::F32;
    let lengths = Lengths { weights: model, partials: model, format };
    let round = Arc::new(Round::new(plan, 2, lengths, SessionId(1)).expect("shards and parameters"));
    board.replace(Some(Arc::clone(&round)));
    round
}
