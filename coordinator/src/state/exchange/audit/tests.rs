use std::time::Duration;

use lookbehind_common::blocks::{BlockDigest, BlockRange};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::JobId;
use lookbehind_common::model_state::ModelState;

use super::*;
use crate::state::event::Addend;
use crate::state::exchange::{Announcement, Secrets};

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);
/// Elements of a block: two slices and a bit.
const ELEMENTS: usize = 2 * slice::SLICE_BYTES / size_of::<f32>() + 5;
const HALVES: [Segment; 2] = [Segment { first: 0, end: 1 }, Segment { first: 1, end: 2 }];

fn request(index: u32) -> RequestId {
    RequestId { job: JobId::from_entropy(1), outer_step: 2, index }
}

fn blocks() -> Blocks {
    Blocks::of_size(ModelState { parameters: 4 * ELEMENTS, statistics: 3 }, ELEMENTS)
}

/// The values of a worker's partial: gradient and batch statistics.
fn partial(of: u32) -> ModelState<FlatBuffer> {
    blocks()
        .flat_lengths()
        .map(|length| Vec::from_iter((0..length).map(|index| 1.0 / (index as f32 + of as f32 + 0.5))).into())
}

fn digests(of: u32) -> Vec<BlockDigest> {
    blocks().digests(partial(of).values())
}

/// An exchange in which both owners have uploaded the right sum of their range, but for `error` in the first element of the
/// audited slice; and what is audited.
fn settled(index: u32, error: f32) -> (Exchange, AuditedSlice) {
    let secrets = Secrets::draw(&[7; 32], 1, &request(index), &blocks());
    let mut exchange = Exchange::new(secrets, blocks(), 2, &[(A, 1.0), (B, 1.0)]);
    for (number, (session, segment)) in [A, B].into_iter().zip(HALVES).enumerate() {
        exchange.note_makers(session, &[segment]);
        assert_eq!(exchange.announce(session, segment, digests(number as u32)), Announcement::Taken);
    }
    exchange.note_all_announced(Duration::ZERO);
    let of = exchange.audit.of;
    let (left, right) = (partial(0), partial(1));
    for range in exchange.ranges.iter().map(|range| range.blocks).collect::<Vec<BlockRange>>() {
        let elements = blocks().elements(range);
        let mut sum = ModelState { parameters: FlatBuffer::default(), statistics: FlatBuffer::default() };
        for kind in [
            lookbehind_common::layout::TensorKind::Parameter,
            lookbehind_common::layout::TensorKind::RunningStatistic,
        ] {
            let mut values = left[kind][elements[kind].clone()].to_vec();
            add_assign(&mut values, &right[kind][elements[kind].clone()]);
            sum[kind] = values.into();
        }
        if range.contains(of.block) {
            let (kind, place) = blocks().cut(range).place(of.block - range.first);
            let first = slice::place(place.len() * size_of::<f32>(), of.slice).start / size_of::<f32>();
            let mut values = sum[kind].to_vec();
            values[place.start + first] += error;
            sum[kind] = values.into();
        }
        let owner = exchange.ranges.iter().find(|owned| owned.blocks == range).and_then(|range| range.owner);
        let owner = owner.expect("an owner");
        exchange.take(owner, Segment::root(2), range, sum, &[]).expect("it is the owner");
        let addend = |number: u32| Addend {
            segment: HALVES[number as usize],
            blocks: range,
            digest: BlockDigest::of_all(range.of(&digests(number)).expect("all blocks")),
        };
        exchange.note_reduced(owner, range, vec![addend(0), addend(1)]);
    }
    (exchange, of)
}

fn makers() -> impl Iterator<Item = (Segment, SessionId)> {
    HALVES.into_iter().zip([A, B])
}

fn answer(of: AuditedSlice, number: u32) -> Audited {
    let values = partial(number);
    let (kind, elements) = blocks().place(of.block);
    let block: Vec<u8> = values[kind][elements].iter().flat_map(|value| value.to_le_bytes()).collect();
    Audited {
        segment: HALVES[number as usize],
        values: block[slice::place(block.len(), of.slice)].to_vec().into(),
        proof: slice::prove(&block, of.slice),
    }
}

#[test]
fn an_owner_that_adds_rightly_passes() {
    for index in 0..20 {
        let (mut exchange, of) = settled(index, 0.0);
        assert!(exchange.is_settled() && !exchange.is_complete(), "the audit is open");
        let questions = exchange.questions(makers()).expect("questions");
        assert_eq!(questions, (of, vec![(A, HALVES[0]), (B, HALVES[1])]));
        assert_eq!(exchange.questions(makers()), None, "nobody is asked twice");
        for (number, session) in [A, B].into_iter().enumerate() {
            assert_eq!(exchange.audit(), Ok(()));
            assert!(!exchange.is_complete());
            exchange.note_audited(session, &answer(of, number as u32)).unwrap();
        }
        assert_eq!(exchange.audit(), Ok(()));
        assert!(exchange.is_complete());
    }
}

#[test]
fn an_owner_whose_sum_differs_in_one_bit_of_the_slice_is_named() {
    let (mut exchange, of) = settled(3, f32::MIN_POSITIVE.max(1e-6));
    let owner = exchange.ranges.iter().find(|range| range.blocks.contains(of.block)).unwrap().owner.unwrap();
    exchange.questions(makers());
    for (number, session) in [A, B].into_iter().enumerate() {
        exchange.note_audited(session, &answer(of, number as u32)).unwrap();
    }
    assert_eq!(exchange.audit(), Err(WrongSum { owner, of }));
}

#[test]
fn a_maker_cannot_put_the_blame_on_the_owner() {
    let (mut exchange, of) = settled(5, 0.0);
    exchange.questions(makers());
    let mut wrong = answer(of, 0);
    let mut values = wrong.values.to_vec();
    values[0] ^= 1;
    wrong.values = values.into();
    assert!(exchange.note_audited(A, &wrong).is_err(), "not what it announced");
    exchange.note_audited(B, &answer(of, 0)).unwrap();
    assert_eq!(exchange.silent_makers(|_| None), [A, B], "B answered for another worker");
    assert_eq!(exchange.audit(), Ok(()));
}

#[test]
fn whoever_computes_a_lost_partial_again_is_asked_for_it() {
    let (mut exchange, of) = settled(6, 0.0);
    exchange.questions(makers());
    exchange.note_audited(B, &answer(of, 1)).unwrap();
    let other = SessionId(3);
    let questions = exchange.questions([(HALVES[0], other), (HALVES[1], B)].into_iter());
    assert_eq!(questions, Some((of, vec![(other, HALVES[0])])));
    exchange.note_audited(other, &answer(of, 0)).unwrap();
    assert_eq!(exchange.audit(), Ok(()));
    assert!(exchange.is_complete());
}

#[test]
fn audits_reach_all_blocks() {
    let drawn = (0..200).map(|index| Audit::draw(&[7; 32], 1, &request(index), &blocks()).of);
    let drawn: std::collections::BTreeSet<_> = drawn.map(|of| (of.block, of.slice)).collect();
    assert_eq!(drawn.len(), 4 * 3 + 1, "four blocks of three slices, and one of batch statistics");
}
