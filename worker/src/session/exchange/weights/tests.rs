use super::*;

fn range(first: u32, end: u32) -> BlockRange {
    BlockRange::new(first, end).unwrap()
}

#[test]
fn each_block_has_its_place_in_the_flat_buffers() {
    let lengths = ModelState { parameters: 9, statistics: 5 };
    let blocks = Blocks::of_size(lengths, 4);
    let mut weights = lengths.map(|length| vec![0.0; length]);
    let ModelState { parameters, statistics } = &mut weights;
    let flat = ModelState { parameters: &mut parameters[..], statistics: &mut statistics[..] };
    let ranges = [(range(0, 2), None), (range(2, 4), Some(SessionId(1))), (range(4, 5), None)];
    for (owned, _, mut places) in cut(&blocks, flat, &ranges).unwrap() {
        for number in owned.numbers() {
            places.of(blocks.place(number)).fill(number as f32);
        }
    }
    assert_eq!(weights.parameters, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0]);
    assert_eq!(weights.statistics, [3.0, 3.0, 3.0, 3.0, 4.0]);
}

#[test]
fn ranges_that_are_not_all_blocks_once_are_refused() {
    let lengths = ModelState { parameters: 9, statistics: 5 };
    let blocks = Blocks::of_size(lengths, 4);
    for ranges in [
        &[(range(0, 2), None)][..],
        &[(range(0, 6), None)],
        &[(range(0, 3), None), (range(2, 5), None)],
        &[(range(0, 2), None), (range(3, 5), None)],
        &[(range(3, 5), None), (range(0, 3), None)],
        &[],
    ] {
        let mut weights = lengths.map(|length| vec![0.0; length]);
        let ModelState { parameters, statistics } = &mut weights;
        let flat = ModelState { parameters: &mut parameters[..], statistics: &mut statistics[..] };
        assert!(cut(&blocks, flat, ranges).is_none(), "{ranges:?}");
    }
}
