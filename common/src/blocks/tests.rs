use super::*;

fn blocks(parameters: usize, statistics: usize) -> Blocks {
    Blocks::new(ModelState { parameters, statistics })
}

#[test]
fn blocks_cover_every_element_once_and_in_order() {
    for (parameters, statistics) in
        [(1, 0), (1, 1), (BLOCK_ELEMENTS, 3), (3 * BLOCK_ELEMENTS + 7, 2 * BLOCK_ELEMENTS + 1)]
    {
        let blocks = blocks(parameters, statistics);
        let mut reached = ModelState { parameters: 0, statistics: 0 };
        for block in 0..blocks.count() {
            let (kind, elements) = blocks.place(block);
            assert_eq!(elements.start, reached[kind], "block {block}");
            assert!(!elements.is_empty() && elements.len() <= BLOCK_ELEMENTS);
            reached[kind] = elements.end;
        }
        assert_eq!(reached, ModelState { parameters, statistics });
    }
}

#[test]
fn the_elements_of_a_range_are_those_of_its_blocks() {
    let blocks = blocks(2 * BLOCK_ELEMENTS + 5, BLOCK_ELEMENTS + 1);
    for first in 0..blocks.count() {
        for end in first + 1..=blocks.count() {
            let range = BlockRange::new(first, end).unwrap();
            let mut expected = ModelState { parameters: Vec::new(), statistics: Vec::new() };
            for block in range.numbers() {
                let (kind, elements) = blocks.place(block);
                expected[kind].extend(elements);
            }
            assert_eq!(blocks.elements(range).map(Vec::from_iter), expected, "{range}");
        }
    }
}

#[test]
fn a_division_covers_all_blocks_evenly() {
    for (elements, parts) in [(1, 1), (1, 4), (BLOCK_ELEMENTS * 10, 3), (BLOCK_ELEMENTS * 96, 7)] {
        let blocks = blocks(elements, 0);
        let ranges = blocks.divide(parts);
        assert_eq!(
            ranges.iter().flat_map(|range| range.numbers()).collect::<Vec<_>>(),
            Vec::from_iter(0..blocks.count())
        );
        let lengths = ranges.iter().map(|range| range.count());
        assert!(lengths.clone().max().unwrap() - lengths.min().unwrap() <= 1);
    }
}

#[test]
fn a_digest_depends_on_every_block() {
    let mut values = vec![1.0; BLOCK_ELEMENTS + 1];
    let blocks = blocks(BLOCK_ELEMENTS + 1, 0);
    let digests_of = |values: &[f32]| blocks.digests(ModelState { parameters: values, statistics: &[] });
    let before = digests_of(&values);
    assert_eq!(before.len(), 2);
    assert_eq!(before[1], BlockDigest::of(&1_f32.to_le_bytes()));
    values[BLOCK_ELEMENTS] = 2.0;
    let after = digests_of(&values);
    assert_eq!((before[0], before[1] == after[1]), (after[0], false));
    assert_ne!(BlockDigest::of_all(&before), BlockDigest::of_all(&after));
}

#[test]
fn a_large_model_has_about_a_thousand_blocks_and_a_small_one_few() {
    for (elements, size, count) in [
        (BLOCK_ELEMENTS, BLOCK_ELEMENTS, 1),
        (4 * BLOCK_ELEMENTS - 1, BLOCK_ELEMENTS, 4),
        (4 * BLOCK_ELEMENTS, 1 << 14, 64),
        (11_700_000, 1 << 14, 715),
        (25_000_000, 1 << 15, 763),
        (1 << 30, BLOCK_ELEMENTS, 4096),
    ] {
        let blocks = blocks(elements, 0);
        assert_eq!((blocks.place(0).1.len(), blocks.count()), (size, count), "{elements}");
    }
}
