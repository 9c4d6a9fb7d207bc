use super::*;

/// A file with any header and data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The verdict on a file that arrives in pieces of `piece` bytes.
fn check(bytes: &[u8], piece: usize) -> Result<(), String> {
    let checked = (|| {
        let mut check = Check::new(bytes.len() as u64)?;
        bytes.chunks(piece).try_for_each(|piece| check.take(piece))?;
        check.finish()
    })();
    checked.map_err(|error: ModelFileError| error.to_string())
}

fn values(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The header of two tensors of three and two values, and a counter between them.
const HEADER: &str = r#"{
    "b.weight": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
    "a.num_batches_tracked": {"dtype": "I64", "shape": [], "data_offsets": [12, 20]},
    "a.bias": {"dtype": "F32", "shape": [2], "data_offsets": [20, 28]}
}"#;

fn data(bias: [f32; 2]) -> Vec<u8> {
    [values(&[1.0, -2.0, 3.0]), vec![0xff; 8], values(&bias)].concat()
}

#[test]
fn a_model_file_is_taken_in_pieces_of_any_size() {
    let good = file(HEADER, &data([0.5, -0.0]));
    for piece in 1..=good.len() {
        assert_eq!(check(&good, piece), Ok(()), "pieces of {piece}");
    }
}

#[test]
fn a_value_that_is_not_finite_is_named_wherever_the_pieces_end() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bad = file(HEADER, &data([0.5, value]));
        for piece in 1..=bad.len() {
            let expected = "tensor \"a.bias\": number 1 is not finite";
            assert_eq!(check(&bad, piece).unwrap_err(), expected, "pieces of {piece}");
        }
    }
}

#[test]
fn a_file_that_is_cut_or_goes_on_is_refused() {
    let good = file(HEADER, &data([0.5, 1.0]));
    for length in 0..good.len() {
        assert!(check(&good[..length], 7).is_err(), "{length} bytes");
    }
    assert!(check(&[&good[..], &[0]].concat(), 7).is_err());
    let mut check = Check::new(good.len() as u64).unwrap();
    check.take(&good[..good.len() - 1]).unwrap();
    assert!(check.finish().is_err(), "the last byte is missing");
    assert!(check.take(&[0, 0]).is_err(), "a byte too many");
}

#[test]
fn what_is_not_a_model_file_is_refused_with_the_reason() {
    let one = |rest: &str| file(&format!("{{\"w\": {{{rest}}}}}"), &[0; 8]);
    let noise: Vec<u8> = (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let cases = [
        (Vec::new(), "expected 8 bytes, found 0"),
        (noise, "expected a header of at most 4194304 bytes"),
        (
            (MAX_HEADER + 1).to_le_bytes().to_vec(),
            "expected a header of at most 4194304 bytes, found 4194305",
        ),
        (100_u64.to_le_bytes().to_vec(), "expected 108 bytes, found 8"),
        (file("", &[]), "EOF"),
        (file("{", &[]), "EOF"),
        (file("[]", &[]), "expected"),
        (file("{}", &[]), "no tensors"),
        (file(r#"{"__metadata__": {"a": "b"}}"#, &[]), "no tensors"),
        (file(r#"{"w": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}"#, &[]), "no tensors"),
        (one(r#""dtype": "F32", "shape": [1], "data_offsets": [0, 4]"#), "bytes, found"),
        (one(r#""dtype": "F32", "shape": [2], "data_offsets": [8, 0]"#), "offset"),
        (one(r#""dtype": "F32", "shape": [2], "data_offsets": [4, 12]"#), "offset"),
        (one(r#""dtype": "F32", "shape": [3], "data_offsets": [0, 8]"#), "invalid shape"),
        (one(r#""dtype": "F32", "shape": [9223372036854775807, 9], "data_offsets": [0, 8]"#), "overflow"),
        (one(r#""dtype": "F16", "shape": [4], "data_offsets": [0, 8]"#), "expected F32, found F16"),
        (one(r#""dtype": "I64", "shape": [1], "data_offsets": [0, 8]"#), "expected F32, found I64"),
    ];
    for (number, (bytes, words)) in cases.into_iter().enumerate() {
        let reason = check(&bytes, 1 << 20).expect_err("no model file");
        assert!(reason.to_lowercase().contains(&words.to_lowercase()), "case {number}: {reason}");
    }
}

#[test]
fn the_reason_is_short_and_harmless_whatever_the_header_says() {
    let name = "x\u{1b}[2J".repeat(10_000);
    let header = format!("{{\"w\": {{\"dtype\": \"{name}\"}}}}").replace('\u{1b}', "\\u001b");
    let reason = check(&file(&header, &[]), 1 << 20).expect_err("no dtype");
    assert!(reason.len() < 1000 && crate::text::is_harmless(&reason), "{reason}");
}
