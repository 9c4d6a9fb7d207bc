use super::*;

fn rows() -> Rows {
    Rows { inputs: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], targets: vec![0, 1, 2] }
}

fn data(input_shape: &[usize], classes: usize, train: Rows, test: Rows) -> InMemory {
    InMemory::new(input_shape.to_vec(), classes, train, test).unwrap()
}

const PASS: SampleContext = SampleContext { seed: 0, epoch: 0 };

#[test]
fn a_batch_holds_the_samples_in_the_order_asked_for() {
    let data = data(&[1, 2], 3, rows(), Rows::default());
    let batch = data.batch(Split::Train, &[2, 0, 2], PASS).unwrap();
    assert_eq!(batch.shape, [3, 1, 2]);
    assert_eq!(batch.inputs, [4.0, 5.0, 0.0, 1.0, 4.0, 5.0]);
    assert_eq!(batch.targets, [2, 0, 2].map(Target::from));
}

#[test]
fn a_sample_beyond_the_split_is_refused() {
    let data = data(&[2], 3, rows(), Rows::default());
    for (split, sample, expected) in [
        (Split::Train, 3, "sample 3: the training split has 3 samples"),
        (Split::Test, 0, "sample 0: the test split has 0 samples"),
        (Split::Train, u64::MAX, "the training split has 3 samples"),
    ] {
        let error = data.batch(split, &[sample], PASS).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_fingerprint_depends_on_everything_that_a_sample_depends_on() {
    let mut other_input = rows();
    other_input.inputs[5] = -5.0;
    let mut other_target = rows();
    other_target.targets[0] = 1;
    let mut negative_zero = rows();
    negative_zero.inputs[0] = -0.0;
    let variants = [
        data(&[2], 3, rows(), Rows::default()),
        data(&[2], 4, rows(), Rows::default()),
        data(&[2, 1], 3, rows(), Rows::default()),
        data(&[2], 3, rows(), rows()),
        data(&[2], 3, other_input, Rows::default()),
        data(&[2], 3, other_target, Rows::default()),
        data(&[2], 3, negative_zero, Rows::default()),
    ];
    let prints: std::collections::HashSet<_> =
        variants.iter().map(|data| data.description().fingerprint).collect();
    assert_eq!(prints.len(), variants.len());
    let again = data(&[2], 3, rows(), Rows::default());
    assert_eq!(again.description(), variants[0].description());
}

#[test]
fn splits_whose_values_follow_each_other_alike_have_different_fingerprints() {
    let rows = |inputs: &[u32], targets: &[u32]| Rows {
        inputs: inputs.iter().map(|&bits| f32::from_bits(bits)).collect(),
        targets: targets.to_vec(),
    };
    let two_splits = data(&[1], 2, rows(&[0], &[0]), rows(&[1], &[0]));
    let one_split = data(&[1], 2, rows(&[0, 0], &[1, 0]), Rows::default());
    assert_ne!(two_splits.description().fingerprint, one_split.description().fingerprint);
}

#[test]
fn contradictions_are_refused_with_the_split_and_row() {
    let refusal = |shape: &[usize], classes, train, test| {
        InMemory::new(shape.to_vec(), classes, train, test).unwrap_err().to_string()
    };
    let none = Rows::default;
    let short = Rows { inputs: vec![0.0; 5], targets: vec![0, 1, 2] };
    assert!(refusal(&[2], 3, none(), rows()).contains("training split: found 0 samples"));
    assert!(refusal(&[2], 3, short, none()).contains("found 5 elements, expected 3 samples of shape [2]"));
    assert!(refusal(&[2], 3, rows(), Rows { inputs: vec![0.0], targets: vec![0] }).contains("test split"));
    assert!(refusal(&[2], 2, rows(), none()).contains("row 2: found class 2, expected below 2"));
    assert!(refusal(&[2], 0, rows(), none()).contains("found 0 classes"));
    assert!(refusal(&[2], MAX_CLASSES + 1, rows(), none()).contains("classes"));
    assert!(refusal(&[0], 3, rows(), none()).contains("shape [0]"));
    assert!(refusal(&[usize::MAX, 2], 3, rows(), none()).contains("elements"));
}

#[test]
fn pixels_become_values_from_0_to_1() {
    let rows = Rows { inputs: vec![0_u8, 51, 255, 102], targets: vec![1, 0] };
    let data = InMemory::images(vec![1, 1, 2], 2, rows, Rows::default()).unwrap();
    let batch = data.batch(Split::Train, &[1, 0], PASS).unwrap();
    assert_eq!(batch.inputs, [1.0, 0.4, 0.0, 0.2]);
}

#[test]
fn the_fingerprint_of_images_covers_every_pixel_and_is_not_that_of_values() {
    let print = |inputs: &[u8]| {
        let rows = Rows { inputs: inputs.to_vec(), targets: vec![0, 1] };
        InMemory::images(vec![1, 1, 2], 2, rows, Rows::default()).unwrap().description().fingerprint
    };
    assert_eq!(print(&[1, 2, 3, 4]), print(&[1, 2, 3, 4]));
    assert_ne!(print(&[1, 2, 3, 4]), print(&[1, 2, 3, 5]));
    let values = Rows { inputs: vec![1.0, 2.0, 3.0, 4.0], targets: vec![0, 1] };
    let values = data(&[1, 1, 2], 2, values, Rows::default());
    assert_ne!(print(&[1, 2, 3, 4]), values.description().fingerprint);
}
