//! Answers the coordinator's audits: it asks for slices of partials after the owner of their block has added them.

use std::sync::Arc;

use lookbehind_common::blocks::slice;
use lookbehind_common::ids::RequestId;
use lookbehind_common::reduction::Segment;
use lookbehind_proto::convert::{FieldError, required};
use lookbehind_proto::v1;
use lookbehind_proto::v1::session_request::Message;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::offer::Offer;
use super::round::Board;
use crate::session::command::ExecutorMessage;

impl Board {
    /// Answers an audit of the present round. One of another round, or of a partial that is not here, gets no answer.
    ///
    /// # Errors
    /// If the coordinator's message is not valid.
    pub(in crate::session) fn answer(
        &self,
        audit: v1::Audit,
        messages: mpsc::Sender<ExecutorMessage>,
        runtime: &Handle,
    ) -> Result<(), FieldError> {
        let request = RequestId::try_from(required(audit.request.clone(), "request")?)?;
        let segment = Segment::try_from(required(audit.segment, "segment")?)?;
        let Some(round) = self.present().filter(|round| round.request == request) else { return Ok(()) };
        let partial = round.computed_partials().into_iter().find(|(computed, _)| *computed == segment);
        let Some((_, partial)) = partial else { return Ok(()) };
        let over = round.over.clone();
        runtime.spawn(async move {
            over.run_until_cancelled(async {
                if let Some(audited) = audited(audit, partial).await {
                    // The receiver is dropped only when the session has ended.
                    let _ = messages.send(ExecutorMessage::Message(Message::Audited(audited))).await;
                }
            })
            .await;
        });
        Ok(())
    }
}

/// The answer; `None` if there is no such block.
async fn audited(audit: v1::Audit, partial: Arc<Offer>) -> Option<v1::Audited> {
    let block = partial.get(audit.block).await?.bytes;
    let place = slice::place(block.len(), audit.slice);
    let proof = slice::prove(&block, audit.slice);
    Some(v1::Audited {
        request: audit.request,
        segment: audit.segment,
        values: block.slice(place),
        proof: proof.iter().map(|hash| hash.to_vec().into()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use lookbehind_common::blocks::BLOCK_ELEMENTS;
    use lookbehind_common::flat_buffer::FlatBuffer;
    use lookbehind_common::ids::Ticket;
    use lookbehind_common::partial::Partial;

    use super::super::round::tests::put_round;
    use super::*;

    #[tokio::test]
    async fn a_slice_of_a_computed_partial_is_proved_by_what_was_announced() {
        let board = Board::default();
        let round = put_round(&board, Ticket::from_entropy(1), None);
        let values: Vec<f32> = (0..2 * BLOCK_ELEMENTS + 3).map(|index| index as f32).collect();
        let segment = Segment { first: 0, end: 1 };
        let partial = Partial { gradient: FlatBuffer::from(values), ..Partial::default() };
        let digests = round.offer(segment, partial);
        let (messages, mut sent) = mpsc::channel(1);
        let ask = |block, slice| v1::Audit {
            request: Some((&round.request).into()),
            segment: Some(segment.into()),
            block,
            slice,
        };
        for (block, slice, bytes) in [(1, 3, 4 * BLOCK_ELEMENTS), (2, 0, 12)] {
            board.answer(ask(block, slice), messages.clone(), &Handle::current()).unwrap();
            let Some(ExecutorMessage::Message(Message::Audited(answer))) = sent.recv().await else {
                panic!("an answer")
            };
            let proof: Vec<[u8; 32]> =
                answer.proof.iter().map(|hash| hash.as_ref().try_into().unwrap()).collect();
            let digest = slice::digest(bytes, slice, &answer.values, &proof);
            assert_eq!(digest, Some(digests[block as usize]), "block {block}");
        }
    }
}
