use lookbehind_common::digest::Digest;

use super::*;

fn description() -> DataDescription {
    DataDescription {
        train_samples: 3,
        test_samples: 0,
        input_shape: vec![2, 2],
        classes: 2,
        fingerprint: Digest::of(b""),
    }
}

fn batch() -> Batch {
    Batch::new(vec![0.0; 8], &[2, 2], vec![Target::from(0), Target::from(1)])
}

#[test]
fn a_batch_of_what_was_asked_for_is_taken() {
    assert_eq!(batch().shape, [2, 2, 2]);
    batch().check(Split::Train, 2, &description()).unwrap();
}

#[test]
fn a_batch_of_anything_else_is_refused_with_the_split() {
    let refusal = |batch: Batch| batch.check(Split::Test, 2, &description()).unwrap_err().to_string();
    let other_shape = Batch { shape: vec![2, 4], ..batch() };
    assert_eq!(refusal(other_shape), "test split: found a batch of shape [2, 4], expected [2, 2, 2]");
    let fewer_values = Batch { inputs: vec![0.0; 7], ..batch() };
    assert_eq!(refusal(fewer_values), "test split: found 7 values in a batch of shape [2, 2, 2]");
    let fewer_targets = Batch { targets: vec![Target::from(0)], ..batch() };
    assert_eq!(refusal(fewer_targets), "test split: found 1 targets in a batch, expected 2");
    let fewer_samples = Batch::new(vec![0.0; 4], &[2, 2], vec![Target::from(0)]);
    assert_eq!(refusal(fewer_samples), "test split: found a batch of shape [1, 2, 2], expected [2, 2, 2]");
}
