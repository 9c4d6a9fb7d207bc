//! What the coordinator says of the exchange of a request.

use std::collections::BTreeMap;

use lookbehind_common::blocks::BlockRange;
use lookbehind_common::ids::{RequestId, SessionId, Ticket};
use lookbehind_common::reduction::Segment;
use lookbehind_identity::SocketName;
use lookbehind_identity::peers::{Fingerprint, Place};
use lookbehind_proto::convert::{FieldError, required};
use lookbehind_proto::v1;

/// Where another worker is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) place: Place,
    /// `None` in plain text.
    pub(super) fingerprint: Option<Fingerprint>,
}

/// The exchange of a request as it was last told.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) request: RequestId,
    pub(super) ticket: Ticket,
    pub(super) peers: BTreeMap<SessionId, Peer>,
    /// Ranges that together cover all blocks of partials, and their owners; `None` for the coordinator. Empty for a test.
    pub(super) ranges: Vec<(BlockRange, Option<SessionId>)>,
    /// The same for the blocks of the weights, where partials have others or there are none; else empty.
    pub(super) weights: Vec<(BlockRange, Option<SessionId>)>,
    /// Segments and the workers that were asked for them, in the order in which they were asked.
    pub(super) makers: Vec<(Segment, SessionId)>,
}

impl Plan {
    /// Ranges that together cover the blocks of the weights, and who passes them on.
    pub(super) fn of_weights(&self) -> &[(BlockRange, Option<SessionId>)] {
        if self.weights.is_empty() { &self.ranges } else { &self.weights }
    }

    /// The ranges that a worker owns.
    pub(super) fn owned_by(&self, session: SessionId) -> impl Iterator<Item = BlockRange> {
        self.ranges.iter().filter(move |(_, owner)| *owner == Some(session)).map(|(range, _)| *range)
    }
}

impl TryFrom<v1::Exchange> for Plan {
    type Error = FieldError;

    fn try_from(exchange: v1::Exchange) -> Result<Self, FieldError> {
        let peer = |peer: v1::Peer| {
            let endpoint = required(peer.endpoint, "endpoint")?;
            let fingerprint = match endpoint.fingerprint.len() {
                0 => None,
                _ => Some(required(Fingerprint::from_bytes(&endpoint.fingerprint), "fingerprint")?),
            };
            let socket = match endpoint.socket.len() {
                0 => None,
                _ => Some(required(SocketName::from_bytes(&endpoint.socket), "socket")?),
            };
            let place = Place { address: endpoint.address, socket };
            Ok((SessionId(peer.session), Peer { place, fingerprint }))
        };
        let range = |range: v1::OwnedRange| {
            let blocks = BlockRange::try_from(required(range.blocks, "blocks")?)?;
            Ok((blocks, (range.owner > 0).then_some(SessionId(range.owner))))
        };
        let maker = |maker: v1::Maker| {
            Ok((Segment::try_from(required(maker.segment, "segment")?)?, SessionId(maker.session)))
        };
        Ok(Self {
            request: RequestId::try_from(required(exchange.request, "request")?)?,
            ticket: required(Ticket::from_bytes(&exchange.ticket), "ticket")?,
            peers: exchange.peers.into_iter().map(peer).collect::<Result<_, _>>()?,
            ranges: exchange.ranges.into_iter().map(range).collect::<Result<_, _>>()?,
            weights: exchange.weights.into_iter().map(range).collect::<Result<_, _>>()?,
            makers: exchange.makers.into_iter().map(maker).collect::<Result<_, _>>()?,
        })
    }
}
