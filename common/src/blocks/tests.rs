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
fn gradients_in_bf16_have_the_same_blocks_and_digests_of_half_the_bytes() {
    let exact = blocks(BLOCK_ELEMENTS + 1, 3);
    let rounded = exact.of_gradients(ExchangeFormat::Bf16);
    assert_ne!(exact, rounded);
    assert_eq!((exact.count(), exact.all()), (rounded.count(), rounded.all()));
    assert_eq!((exact.bytes(), rounded.bytes()), (4 * (BLOCK_ELEMENTS + 4), 2 * (BLOCK_ELEMENTS + 1) + 12));
    let values = ModelState { parameters: &vec![1.0; BLOCK_ELEMENTS + 1][..], statistics: &[2.0; 3] };
    let (of_exact, of_rounded) = (exact.digests(values), rounded.digests(values));
    assert_eq!(of_rounded[1], BlockDigest::of(&[0x80, 0x3f]));
    assert_eq!(of_rounded[2], of_exact[2], "statistics are not rounded");
    let range = BlockRange { first: 1, end: 3 };
    let part = ModelState { parameters: &[1.0][..], statistics: values.statistics };
    assert_eq!(rounded.cut(range).digests(part), of_rounded[1..]);
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
