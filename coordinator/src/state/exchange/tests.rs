use std::collections::BTreeSet;

use lookbehind_common::blocks::BLOCK_ELEMENTS;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::{JobId, RequestId};
use lookbehind_common::model_state::ModelState;

use super::plan::ticket;
use super::*;

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);
const SHARDS: u32 = 4;

fn segment(first: u32, end: u32) -> Segment {
    Segment { first, end }
}

fn range(first: u32, end: u32) -> BlockRange {
    BlockRange::new(first, end).unwrap()
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn request() -> RequestId {
    RequestId { job: JobId::from_entropy(1), outer_step: 2, index: 3 }
}

/// Four blocks, two for each of two owners, who also make a half of the shards each.
fn exchange() -> Exchange {
    let blocks =
        Blocks::of_size(ModelState { parameters: 4 * BLOCK_ELEMENTS, statistics: 0 }, BLOCK_ELEMENTS);
    let mut exchange =
        Exchange::new(Secrets::draw(&[7; 32], 1, &request(), &blocks), blocks, SHARDS, &[(A, 1.0), (B, 1.0)]);
    exchange.note_makers(A, &[segment(0, 2)]);
    exchange.note_makers(B, &[segment(2, 4)]);
    exchange
}

/// Digests of the blocks of a segment.
fn digests(segment: Segment) -> Vec<BlockDigest> {
    (0..4_u32).map(|block| BlockDigest::of(format!("{segment} {block}").as_bytes())).collect()
}

fn announced() -> Exchange {
    let mut exchange = exchange();
    for segment in [segment(0, 2), segment(2, 4)] {
        assert_eq!(exchange.announce(A, segment, digests(segment)), Announcement::Taken);
    }
    exchange.note_all_announced(at(10));
    exchange
}

fn part(value: f32) -> Part {
    ModelState { parameters: vec![value; 2 * BLOCK_ELEMENTS].into(), statistics: FlatBuffer::default() }
}

fn addends(blocks: BlockRange) -> Vec<Addend> {
    let addend = |segment: Segment| Addend {
        segment,
        blocks,
        digest: BlockDigest::of_all(blocks.of(&digests(segment)).unwrap()),
    };
    vec![addend(segment(0, 2)), addend(segment(2, 4))]
}

fn take(exchange: &mut Exchange, session: SessionId, of: Segment, blocks: BlockRange) -> Result<(), String> {
    let digests = digests(of);
    exchange.take(session, of, blocks, part(1.0), blocks.of(&digests).unwrap())
}

#[test]
fn owners_sums_complete_it_once_what_they_added_was_announced() {
    let mut exchange = exchange();
    assert_eq!(exchange.announce(A, segment(0, 2), digests(segment(0, 2))), Announcement::Taken);
    for (owner, blocks) in [(A, range(0, 2)), (B, range(2, 4))] {
        take(&mut exchange, owner, Segment::root(SHARDS), blocks).unwrap();
        exchange.note_reduced(owner, blocks, addends(blocks));
    }
    // The announcement of the other segment is still on its way.
    assert!(!exchange.is_settled());
    assert_eq!(exchange.announce(A, segment(2, 4), digests(segment(2, 4))), Announcement::Taken);
    assert!(exchange.is_settled());
    let parts = exchange.into_parts().ranges;
    let ranges: Vec<_> = parts.iter().map(|(range, parts)| (*range, Vec::from_iter(parts.keys()))).collect();
    assert_eq!(ranges, [(range(0, 2), vec![&segment(0, 4)]), (range(2, 4), vec![&segment(0, 4)])]);
}

#[test]
fn a_sum_of_something_else_is_not_taken_but_added_by_the_coordinator() {
    let right = addends(range(0, 2));
    let mut differs = right.clone();
    differs[0].digest = BlockDigest::of(b"other");
    let missing = right[..1].to_vec();
    let mut half = right.clone();
    half[1].blocks = range(0, 1);
    half[1].digest = BlockDigest::of_all(&digests(segment(2, 4))[..1]);
    let twice = [&right[..], &right[..1]].concat();
    for wrong in [differs, missing, half, twice, Vec::new()] {
        let mut exchange = announced();
        exchange.take_changes(&request(), |_| None);
        take(&mut exchange, A, Segment::root(SHARDS), range(0, 2)).unwrap();
        exchange.note_reduced(A, range(0, 2), wrong.clone());
        assert!(exchange.is_taken_over(), "{wrong:?}");
        let plan = exchange.take_changes(&request(), |_| None).expect("the workers are told");
        assert_eq!(plan.ranges, [(range(0, 2), None), (range(2, 4), Some(B))]);
    }
}

#[test]
fn what_is_taken_over_comes_from_the_makers_and_must_be_what_they_announced() {
    let mut exchange = announced();
    assert!(exchange.take_over_from(A, at(11)));
    let root = Segment::root(SHARDS);
    assert!(take(&mut exchange, A, root, range(0, 2)).is_err(), "the former owner's sum");
    assert!(take(&mut exchange, B, segment(0, 2), range(0, 2)).is_err(), "another maker's segment");
    let other = exchange.take(A, segment(0, 2), range(0, 2), part(1.0), &digests(segment(2, 4))[..2]);
    assert!(other.is_err(), "other blocks than were announced");
    take(&mut exchange, A, segment(0, 2), range(0, 2)).unwrap();
    assert!(take(&mut exchange, A, segment(0, 2), range(0, 2)).is_err(), "the same blocks again");
    assert_eq!(exchange.silent_makers(|of| Some(if of == segment(0, 2) { A } else { B })), [B]);
    take(&mut exchange, B, segment(2, 4), range(0, 2)).unwrap();
    assert!(!exchange.is_settled() && !exchange.is_taken_over());
    take(&mut exchange, B, root, range(2, 4)).unwrap();
    exchange.note_reduced(B, range(2, 4), addends(range(2, 4)));
    assert!(exchange.is_settled());
    assert!(!exchange.take_over_from(B, at(12)), "nothing is left to take over");
}

#[test]
fn a_sum_of_what_nobody_will_announce_is_taken_over() {
    let of = segment(2, 4);
    for is_awaited in [true, false] {
        let mut exchange = exchange();
        assert_eq!(exchange.announce(A, segment(0, 2), digests(segment(0, 2))), Announcement::Taken);
        take(&mut exchange, A, Segment::root(SHARDS), range(0, 2)).unwrap();
        exchange.note_reduced(A, range(0, 2), addends(range(0, 2)));
        let awaited = BTreeSet::from_iter(is_awaited.then_some(of));
        exchange.take_over_unfounded(&awaited, at(1));
        assert_eq!(exchange.is_taken_over(), !is_awaited);
    }
}

#[test]
fn a_part_that_arrives_before_its_announcement_waits_for_it() {
    for is_announced_so in [true, false] {
        let mut exchange = exchange();
        assert_eq!(exchange.announce(A, segment(2, 4), digests(segment(2, 4))), Announcement::Taken);
        exchange.take_over_from(A, at(1));
        take(&mut exchange, A, segment(0, 2), range(0, 2)).unwrap();
        take(&mut exchange, B, segment(2, 4), range(0, 2)).unwrap();
        take(&mut exchange, B, Segment::root(SHARDS), range(2, 4)).unwrap();
        exchange.note_reduced(B, range(2, 4), addends(range(2, 4)));
        assert!(!exchange.is_settled());
        let of = if is_announced_so { segment(0, 2) } else { segment(0, 1) };
        assert_eq!(exchange.announce(A, segment(0, 2), digests(of)), Announcement::Taken);
        assert_eq!(exchange.is_settled(), is_announced_so);
        if !is_announced_so {
            assert_eq!(exchange.silent_makers(|of| (of == segment(0, 2)).then_some(A)), [A]);
        }
    }
}

#[test]
fn only_owners_and_makers_upload_and_only_whole_ranges() {
    let mut exchange = announced();
    let root = Segment::root(SHARDS);
    assert!(take(&mut exchange, B, root, range(0, 2)).is_err());
    assert!(take(&mut exchange, A, segment(0, 2), range(0, 2)).is_err());
    assert!(exchange.admit(A, root, range(0, 1)).is_err());
    assert!(exchange.admit(A, root, range(0, 2)).is_ok());
}

#[test]
fn transfers_are_waited_for_from_the_last_announcement_or_takeover_on() {
    let mut exchange = exchange();
    assert_eq!(exchange.waited(at(30)), None);
    exchange.note_all_announced(at(10));
    exchange.note_all_announced(at(20));
    assert_eq!(exchange.waited(at(30)), Some(at(20)));
    assert_eq!(exchange.take_over_all(at(25)), [A, B]);
    assert_eq!(exchange.waited(at(30)), Some(at(5)));
}

#[test]
fn tickets_differ_between_requests_activations_and_incarnations() {
    let one = ticket(&[7; 32], 1, &request());
    assert!(one == ticket(&[7; 32], 1, &request()));
    let next = RequestId { index: 4, ..request() };
    for other in
        [ticket(&[7; 32], 2, &request()), ticket(&[8; 32], 1, &request()), ticket(&[7; 32], 1, &next)]
    {
        assert!(one != other);
    }
}

#[test]
fn workers_that_cannot_reach_each_other_own_nothing() {
    let mut unreachable = Unreachable::default();
    let all = [A, B, SessionId(3), SessionId(4)];
    assert!(unreachable.note(A, B));
    assert!(!unreachable.note(A, B) && !unreachable.note(A, A));
    assert_eq!(unreachable.owners(&all), [SessionId(3), SessionId(4)]);
    assert_eq!(unreachable.owners(&[A, SessionId(3)]), [A, SessionId(3)]);
    unreachable.forget(B);
    assert_eq!(unreachable.owners(&all), all);
}

#[test]
fn who_announces_a_segment_is_remembered_and_a_second_announcement_must_be_the_same() {
    let mut exchange = exchange();
    let of = segment(0, 2);
    assert_eq!(exchange.announce(A, of, digests(of)), Announcement::Taken);
    assert_eq!(
        exchange.announce(B, of, digests(of)),
        Announcement::Taken,
        "two workers may compute a segment"
    );
    assert!(exchange.was_announced_by(of, A) && !exchange.was_announced_by(of, B));
    assert_eq!(exchange.announce(B, of, digests(segment(2, 4))), Announcement::Differs);
    assert_eq!(exchange.announce(B, segment(2, 4), Vec::new()), Announcement::WrongNumber);
    assert!(!exchange.was_announced_by(segment(2, 4), B));
}
