//! Tests of the digest of weights.

use super::*;
use crate::layout::{TensorKind, TensorSpec};

/// A tensor with its values.
type Tensor = (&'static str, Vec<usize>, TensorKind, Vec<f32>);

fn tensors() -> Vec<Tensor> {
    vec![
        ("b.weight", vec![2, 3], TensorKind::Parameter, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        ("a.bias", vec![2], TensorKind::Parameter, vec![7.0, 8.0]),
        ("norm.mean", vec![2], TensorKind::RunningStatistic, vec![9.0, 10.0]),
    ]
}

fn digest(tensors: &[Tensor]) -> Digest {
    let specs = tensors.iter().map(|(name, shape, kind, _)| TensorSpec {
        name: (*name).into(),
        shape: shape.clone(),
        kind: *kind,
    });
    let layout = Layout::new(specs).expect("a valid layout");
    let flat_buffer = |kind| {
        let of_kind = tensors.iter().filter(|tensor| tensor.2 == kind);
        FlatBuffer::from(of_kind.flat_map(|tensor| tensor.3.clone()).collect::<Vec<_>>())
    };
    let weights = ModelState::from([TensorKind::Parameter, TensorKind::RunningStatistic]).map(flat_buffer);
    weights_digest(&layout, &weights)
}

#[test]
fn the_order_of_declaration_does_not_matter() {
    let mut reversed = tensors();
    reversed.reverse();
    assert_eq!(digest(&reversed), digest(&tensors()));
}

#[test]
fn every_change_of_a_name_a_shape_or_a_bit_changes_the_digest() {
    let changes: [fn(&mut Vec<Tensor>); 7] = [
        |tensors| tensors[0].0 = "b.Weight",
        |tensors| tensors[0].1 = vec![3, 2],
        |tensors| tensors[0].1 = vec![6],
        |tensors| tensors[0].3[5] = f32::from_bits(6.0_f32.to_bits() + 1),
        |tensors| tensors[2].3[0] = 9.5,
        |tensors| tensors[1].3.swap(0, 1),
        |tensors| tensors.truncate(2),
    ];
    let mut digests: Vec<String> = changes
        .iter()
        .map(|change| {
            let mut tensors = tensors();
            change(&mut tensors);
            digest(&tensors).to_string()
        })
        .chain([digest(&tensors()).to_string()])
        .collect();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 8);
}

#[test]
fn the_sign_of_zero_counts() {
    let [mut plus, mut minus] = [tensors(), tensors()];
    plus[1].3[0] = 0.0;
    minus[1].3[0] = -0.0;
    assert_ne!(digest(&plus), digest(&minus));
}

#[test]
fn the_digest_is_the_hash_of_names_types_shapes_and_bytes_in_the_order_of_names() {
    let one = vec![("w", vec![1, 2], TensorKind::Parameter, vec![1.0, -2.0])];
    let mut bytes = Vec::new();
    for text in ["w", "F32"] {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    for number in [2_u64, 1, 2] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend([1.0_f32, -2.0].iter().flat_map(|value| value.to_le_bytes()));
    assert_eq!(digest(&one), Digest::of(&bytes));
}

#[test]
fn a_digest_reads_back_from_its_text_and_from_nothing_else() {
    let digest = Digest::of(b"some bytes");
    let text = digest.to_string();
    assert_eq!(Digest::parse(&text), Some(digest));
    for other in
        [text.to_uppercase(), text[1..].to_owned(), format!("{text}0"), "g".repeat(64), String::new()]
    {
        assert_eq!(Digest::parse(&other), None);
    }
    let json = serde_json::to_string(&digest).expect("text");
    assert_eq!(serde_json::from_str::<Digest>(&json).expect("the same"), digest);
    assert!(serde_json::from_str::<Digest>("\"abc\"").is_err());
}
