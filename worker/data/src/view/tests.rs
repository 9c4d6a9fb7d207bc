use serde_json::{Value, json};

use super::*;
use crate::test_support::parameters;
use crate::{InMemory, Rows};

const PASS: SampleContext = SampleContext { seed: 1, epoch: 2 };

/// Ten images of one channel and 2 × 2 pixels, whose pixels identify the sample, and two for testing.
fn images() -> Result<Box<dyn Dataset>, DataError> {
    shaped(&[1, 2, 2])
}

fn shaped(shape: &[usize]) -> Result<Box<dyn Dataset>, DataError> {
    let rows = |samples: usize| Rows {
        inputs: (0..shape.iter().product::<usize>() * samples).map(|number| number as f32).collect(),
        targets: (0..samples as u32).collect(),
    };
    Ok(Box::new(InMemory::new(shape.to_vec(), 10, rows(10), rows(2))?))
}

fn view(options: Value) -> Box<dyn Dataset> {
    with_options(&parameters(options), 0, |_| images()).unwrap()
}

fn batch(data: &dyn Dataset, split: Split, samples: &[u64]) -> (Vec<f32>, Batch) {
    let batch = data.batch(split, samples, PASS).unwrap();
    assert_eq!(batch.shape, [samples.len(), 1, 2, 2]);
    (batch.inputs.clone(), batch)
}

#[test]
fn the_kind_sees_its_own_parameters_only() {
    let all = json!({ "train": "x", "augment": { "flip": true }, "label_smoothing": 0.1,
        "normalize": { "mean": [0], "std": [1] } });
    with_options(&parameters(all), 0, |rest| {
        assert_eq!(rest, &parameters(json!({ "train": "x" })));
        images()
    })
    .unwrap();
}

#[test]
fn the_test_split_is_normalised_and_nothing_else() {
    let data = view(json!({ "normalize": { "mean": [2.0], "std": [0.5] }, "label_smoothing": 0.1,
        "augment": { "crop_padding": 1, "flip": true, "cutout": 1, "mixup": 1.0 } }));
    let (inputs, batch) = batch(data.as_ref(), Split::Test, &[1, 0]);
    assert_eq!(inputs, [4.0, 6.0, 8.0, 10.0, -4.0, -2.0, 0.0, 2.0]);
    assert_eq!((batch.targets, batch.smoothing), ([1, 0].map(Target::from).to_vec(), 0.0));
}

#[test]
fn published_values_are_known_by_name() {
    let transformed = |normalize: Value| {
        let shape = [3, 1, 1];
        let data =
            with_options(&parameters(json!({ "normalize": normalize })), 0, |_| shaped(&shape)).unwrap();
        data.batch(Split::Test, &[0], PASS).unwrap().inputs
    };
    let imagenet = json!({ "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225] });
    assert_eq!(transformed(json!("imagenet")), transformed(imagenet));
    assert_eq!(transformed(json!("inception")), transformed(json!({ "mean": [0.5], "std": [0.5] })));
}

#[test]
fn a_prepared_sample_does_not_depend_on_the_batch_that_it_is_in() {
    let data = view(json!({ "augment": { "crop_padding": 1, "flip": true, "cutout": 1, "mixup": 1.0 } }));
    let (together, all) = batch(data.as_ref(), Split::Train, &[3, 9, 0, 4]);
    for (place, sample) in [3, 9, 0, 4].into_iter().enumerate() {
        let (alone, one) = batch(data.as_ref(), Split::Train, &[sample]);
        assert_eq!(alone, together[4 * place..4 * (place + 1)]);
        assert_eq!(one.targets, all.targets[place..=place]);
    }
}

#[test]
fn a_mixed_sample_is_the_sum_of_two_changed_ones() {
    let changed = view(json!({ "augment": { "flip": true } }));
    let mixed = view(json!({ "augment": { "flip": true, "mixup": 1.0 }, "label_smoothing": 0.25 }));
    let (plain, _) = batch(changed.as_ref(), Split::Train, &(0..10).collect::<Vec<_>>());
    let (found, batch) = batch(mixed.as_ref(), Split::Train, &[7, 2]);
    assert_eq!(batch.smoothing, 0.25);
    for (place, (target, sample)) in batch.targets.iter().zip([7, 2]).enumerate() {
        let other = target.mixed.unwrap();
        let partner = other.class as usize;
        assert_eq!(target.class, sample as u32);
        for pixel in 0..4 {
            let (own, other_pixel) = (plain[4 * sample + pixel], plain[4 * partner + pixel]);
            let expected = (1.0 - other.share) * own + other.share * other_pixel;
            assert_eq!(found[4 * place + pixel], expected);
        }
    }
}

#[test]
fn a_sample_beyond_the_split_is_refused() {
    let data = view(json!({ "augment": { "mixup": 1.0 } }));
    let error = data.batch(Split::Train, &[10], PASS).unwrap_err().to_string();
    assert!(error.contains("sample 10: the training split has 10 samples"), "{error}");
}

#[test]
fn options_that_cannot_be_are_refused_by_their_path() {
    for (shape, options, expected) in [
        (vec![1, 2, 2], json!({ "augment": { "blur": 1 } }), "data.augment"),
        (vec![1, 2, 2], json!({ "augment": { "crop_padding": -1 } }), "data.augment.crop_padding"),
        (vec![1, 2, 2], json!({ "augment": { "crop_padding": 3 } }), "shorter side of 2"),
        (vec![1, 2, 2], json!({ "augment": { "cutout": 3 } }), "data.augment.cutout"),
        (vec![1, 2, 2], json!({ "augment": { "mixup": -0.1 } }), "data.augment.mixup"),
        (vec![1, 2, 2], json!({ "label_smoothing": 1 }), "data.label_smoothing"),
        (vec![1, 2, 2], json!({ "augment": { "mixup": 1e-310 } }), "data.augment.mixup"),
        (vec![1, 2, 2], json!({ "normalize": { "mean": [0.0], "std": [1e-45] } }), "data.normalize.std"),
        (vec![1, 2, 2], json!({ "normalize": { "mean": [0.5] } }), "std"),
        (vec![1, 2, 2], json!({ "normalize": { "mean": [0.5], "std": [0] } }), "data.normalize.std"),
        (vec![1, 2, 2], json!({ "normalize": { "mean": [1, 2], "std": [1] } }), "data.normalize.mean"),
        (vec![1, 2, 2], json!({ "normalize": { "mean": [], "std": [1] } }), "found 0"),
        (
            vec![1, 2, 2],
            json!({ "normalize": "imagenet" }),
            "expected 1 value or 1, one per channel, found 3",
        ),
        (vec![3, 2, 2], json!({ "normalize": "imagnet" }), "did you mean \"imagenet\"?"),
        (vec![4], json!({ "augment": { "flip": true } }), "inputs of shape [4]"),
    ] {
        let error = with_options(&parameters(options), 0, |_| shaped(&shape)).err().unwrap();
        assert!(error.is_fault_of_job() && error.to_string().contains(expected), "{error}");
    }
}

/// A data set that omits a sample and its target, or a value.
struct Short {
    samples: Box<dyn Dataset>,
    lacks: fn(&mut Batch),
}

impl Dataset for Short {
    fn description(&self) -> &DataDescription {
        self.samples.description()
    }

    fn batch(&self, split: Split, samples: &[u64], context: SampleContext) -> Result<Batch, DataError> {
        let mut batch = self.samples.batch(split, samples, context)?;
        (self.lacks)(&mut batch);
        Ok(batch)
    }
}

#[test]
fn a_batch_that_lacks_something_is_refused_and_never_passed_on_unmixed() {
    let lacks: [fn(&mut Batch); 3] = [
        |batch| batch.targets.truncate(3),
        |batch| batch.inputs.truncate(15),
        |batch| *batch = Batch::new(batch.inputs[4..].to_vec(), &[1, 2, 2], batch.targets[1..].to_vec()),
    ];
    for lacks in lacks {
        let options = parameters(json!({ "augment": { "mixup": 0.5 } }));
        let data = with_options(&options, 0, |_| Ok(Box::new(Short { samples: images()?, lacks }))).unwrap();
        let error = data.batch(Split::Train, &[1, 2], PASS).unwrap_err().to_string();
        assert!(error.starts_with("training split: found "), "{error}");
    }
}

#[test]
fn samples_without_values_cannot_be_prepared() {
    struct Hollow(DataDescription);

    impl Dataset for Hollow {
        fn description(&self) -> &DataDescription {
            &self.0
        }

        fn batch(&self, _: Split, samples: &[u64], _: SampleContext) -> Result<Batch, DataError> {
            Ok(Batch::new(Vec::new(), &self.0.input_shape, vec![Target::from(0); samples.len()]))
        }
    }

    let mut description = images().unwrap().description().clone();
    description.input_shape = vec![3, 0];
    let hollow = || Ok(Box::new(Hollow(description)) as Box<dyn Dataset>);
    let error = with_options(&parameters(json!({ "label_smoothing": 0.1 })), 0, |_| hollow()).err().unwrap();
    assert!(error.to_string().contains("inputs of shape [3, 0], expected at least one number"), "{error}");
}
