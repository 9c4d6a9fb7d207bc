use super::*;

/// A page of numbers in the encoding that lengths have: blocks of 128 in 4 parts, so many values, the first 7, then a
/// block whose parts have so many bits, and their bytes.
fn packed(values: &[u8], bits: [u8; 4], bytes: usize) -> Vec<u8> {
    let mut data = vec![0x80, 0x01, 4];
    data.extend(values);
    data.extend([14, 0]);
    data.extend(bits);
    data.extend(vec![0; bytes]);
    data
}

#[test]
fn packed_numbers_end_where_their_last_block_ends() {
    assert_eq!(Packed::read(&[0x80, 0x01, 4, 1, 14, 9]), Ok(Packed { values: 1, end: 5 }));
    assert_eq!(Packed::read(&packed(&[33], [8, 8, 8, 8], 40)), Ok(Packed { values: 33, end: 10 + 32 }));
    assert_eq!(Packed::read(&packed(&[34], [8, 8, 8, 8], 64)), Ok(Packed { values: 34, end: 10 + 64 }));
    assert!(Packed::read(&packed(&[34], [8, 8, 8, 8], 63)).is_err());
    assert!(Packed::read(&[0x80, 0x01, 0, 1, 14]).is_err(), "no parts");
    assert!(Packed::read(&[0, 4, 9, 14]).is_err(), "no numbers in a block");
    assert!(Packed::read(&[0xff; 30]).is_err(), "a number without an end");
}

#[test]
fn more_lengths_than_values_are_refused() {
    // 2^28 numbers of no bits would need a block of five bytes for each 128 of them; the first block is all that is there.
    let claimed = packed(&[0x80, 0x80, 0x80, 0x80, 0x01], [0; 4], 0);
    assert!(Packed::read(&claimed).is_err());
    let page = |buf: Vec<u8>, num_values| Page::DataPageV2 {
        buf: buf.into(),
        num_values,
        encoding: Encoding::DELTA_LENGTH_BYTE_ARRAY,
        num_nulls: 0,
        num_rows: num_values,
        def_levels_byte_len: 0,
        rep_levels_byte_len: 0,
        is_compressed: false,
        statistics: None,
    };
    let data = packed(&[33], [8, 8, 8, 8], 40);
    assert_eq!(of_page(&page(data.clone(), 33), 0, false), Ok(33 * LENGTH));
    assert!(
        of_page(&page(data.clone(), 16), 0, false)
            .unwrap_err()
            .contains("33 lengths of texts in a page of 16")
    );
    assert_eq!(of_page(&page(data, 33), 1, true), Ok(33 * LENGTH + 33 * COPIES * (VALUE + LEVELS)));
}
