use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::test_support::parameters;
use crate::{DataEnvironment, digits, input_spec_with_options, with_options};

const CONTEXT: SampleContext = SampleContext { seed: 3, epoch: 1 };

fn of_seed(keys: Value, seed: u64) -> Result<Box<dyn Dataset>, DataError> {
    let environment = DataEnvironment::local(".".into(), 1 << 30);
    with_options(&parameters(keys), seed, |rest| digits(rest, &environment))
}

fn of(keys: Value) -> Box<dyn Dataset> {
    of_seed(keys, 1).unwrap()
}

fn refusal(keys: Value) -> String {
    of_seed(keys, 1).err().unwrap().to_string()
}

/// Number of samples of each class.
fn counts(labels: &[u32]) -> Vec<usize> {
    let mut counts = vec![0; 10];
    labels.iter().for_each(|&label| counts[label as usize] += 1);
    counts
}

/// All samples of a test: their images as bits, which identify them, and their labels.
fn test(data: &dyn Dataset, set: TestSet, samples: u64) -> Vec<(Vec<u32>, u32)> {
    let indices: Vec<u64> = (0..samples).collect();
    rows(&data.test_batch(set, &indices, CONTEXT).unwrap())
}

fn train(data: &dyn Dataset) -> Vec<(Vec<u32>, u32)> {
    let indices: Vec<u64> = (0..data.description().train_samples).collect();
    rows(&data.batch(Split::Train, &indices, CONTEXT).unwrap())
}

fn rows(batch: &Batch) -> Vec<(Vec<u32>, u32)> {
    let images =
        batch.inputs.chunks_exact(64).map(|image| image.iter().map(|value| value.to_bits()).collect());
    images.zip(batch.targets.iter().map(|target| target.class)).collect()
}

#[test]
fn without_keys_the_data_set_is_as_it_was() {
    let environment = DataEnvironment::local(".".into(), 1 << 30);
    let plain = digits(&parameters(json!({})), &environment).unwrap();
    assert_eq!(of(json!({})).description(), plain.description());
    assert_eq!(of(json!({})).further_tests(), FurtherTests::default());
}

#[test]
fn the_splits_of_the_pilot_are_drawn_from_all_digits_and_share_no_sample() {
    let data = of(json!({ "resplit": 497, "validation": 300 }));
    let description = data.description();
    assert_eq!((description.train_samples, description.test_samples), (1000, 497));
    assert_eq!(data.further_tests(), FurtherTests { validation: 300, clean: 0, memorised: 0 });
    let mut all = train(data.as_ref());
    all.extend(test(data.as_ref(), TestSet::Test, 497));
    all.extend(test(data.as_ref(), TestSet::Validation, 300));
    let distinct: BTreeSet<_> = all.iter().collect();
    // The digits hold each image once.
    assert_eq!((all.len(), distinct.len()), (1797, 1797));
}

#[test]
fn every_draw_has_the_shares_of_the_classes() {
    let whole = of(json!({ "resplit": 497 }));
    let limited = of(json!({ "resplit": 497, "limit": 130 }));
    let before = counts(&whole.labels(Split::Train).unwrap());
    let after = counts(&limited.labels(Split::Train).unwrap());
    for (before, after) in before.into_iter().zip(after) {
        assert!((before as f64 / 10.0 - after as f64).abs() < 1.0, "{before} {after}");
    }
}

#[test]
fn the_seed_decides_and_nothing_else() {
    let keys = json!({ "resplit": 497, "limit": 500, "validation": 0.25,
        "label_noise": { "kind": "symmetric_other", "rate": 0.4 } });
    let one = of_seed(keys.clone(), 1).unwrap();
    assert_eq!(one.description(), of_seed(keys.clone(), 1).unwrap().description());
    assert_ne!(one.description().fingerprint, of_seed(keys, 2).unwrap().description().fingerprint);
}

#[test]
fn a_key_does_not_change_the_draws_of_the_keys_before_it() {
    let split = of(json!({ "resplit": 497 }));
    let all = of(json!({ "resplit": 497, "validation": 300, "limit": 900 }));
    assert_eq!(test(split.as_ref(), TestSet::Test, 497), test(all.as_ref(), TestSet::Test, 497));
}

#[test]
fn symmetric_other_gives_exactly_the_share_another_label() {
    let data = of(json!({ "limit": 1000, "label_noise": { "kind": "symmetric_other", "rate": 0.4 } }));
    assert_eq!(data.further_tests(), FurtherTests { validation: 0, clean: 1000, memorised: 400 });
    let (noisy, clean) = (train(data.as_ref()), test(data.as_ref(), TestSet::Clean, 1000));
    let wrong: Vec<_> = noisy.iter().zip(&clean).filter(|(noisy, clean)| noisy != clean).collect();
    assert_eq!(wrong.len(), 400);
    let memorised = test(data.as_ref(), TestSet::Memorised, 400);
    assert!(wrong.iter().map(|(noisy, _)| *noisy).eq(&memorised));
    assert_eq!(
        counts(&memorised.iter().map(|row| row.1).collect::<Vec<_>>()).iter().min().copied().map(|n| n > 20),
        Some(true)
    );
    let without = of(json!({ "limit": 1000 }));
    assert_eq!(train(without.as_ref()), clean);
}

#[test]
fn symmetric_any_leaves_about_a_tenth_of_the_chosen_as_they_were() {
    let data = of(json!({ "label_noise": { "kind": "symmetric_any", "rate": 0.5 } }));
    let wrong = data.further_tests().memorised;
    assert!((600..700).contains(&wrong), "{wrong} of 719");
}

#[test]
fn asymmetric_noise_follows_its_map() {
    let noise = json!({ "kind": "asymmetric", "rate": 0.25, "map": { "3": 5 } });
    let data = of(json!({ "label_noise": noise }));
    let (noisy, clean) = (train(data.as_ref()), test(data.as_ref(), TestSet::Clean, 1438));
    let threes = clean.iter().filter(|row| row.1 == 3).count();
    let changed: Vec<_> = noisy.iter().zip(&clean).filter(|(noisy, clean)| noisy.1 != clean.1).collect();
    assert!(changed.iter().all(|(noisy, clean)| (clean.1, noisy.1) == (3, 5)));
    assert_eq!(changed.len(), (threes as f64 / 4.0).round() as usize);
}

#[test]
fn noise_has_a_seed_of_its_own_if_it_says_so() {
    let noise = |seed| json!({ "label_noise": { "kind": "symmetric_other", "rate": 0.1, "seed": seed } });
    let labels = |keys, seed| of_seed(keys, seed).unwrap().labels(Split::Train).unwrap();
    assert_eq!(labels(noise(7), 1), labels(noise(7), 2));
    assert_ne!(labels(noise(7), 1), labels(noise(8), 1));
}

#[test]
fn chosen_classes_get_the_numbers_of_their_order() {
    let data = of(json!({ "classes": [8, 1] }));
    assert_eq!(data.description().classes, 2);
    let whole = of(json!({}));
    let ones_and_eights: Vec<_> = train(whole.as_ref())
        .into_iter()
        .filter_map(|(image, label)| match label {
            8 => Some((image, 0)),
            1 => Some((image, 1)),
            _ => None,
        })
        .collect();
    assert_eq!(train(data.as_ref()), ones_and_eights);
    assert_eq!(data.report().samples.len(), 2);
}

#[test]
fn validation_and_tests_are_normalised_and_not_augmented() {
    let data = of(json!({ "validation": 100, "normalize": { "mean": [0.0], "std": [0.5] },
        "augment": { "flip": true } }));
    let plain = of(json!({ "validation": 100 }));
    let doubled = plain.test_batch(TestSet::Validation, &[4], CONTEXT).unwrap().inputs;
    let doubled: Vec<f32> = doubled.into_iter().map(|value| 2.0 * value).collect();
    assert_eq!(data.test_batch(TestSet::Validation, &[4], CONTEXT).unwrap().inputs, doubled);
}

#[test]
fn the_report_says_what_was_chosen() {
    let data = of(json!({ "limit": 100, "label_noise": { "kind": "symmetric_other", "rate": 0.4 } }));
    let lines = data.report().lines().join("\n");
    assert!(lines.contains("100 of 1438 training samples are used: data.limit"), "{lines}");
    assert!(lines.contains("40 of 100 training samples have a wrong label"), "{lines}");
}

#[test]
fn wrong_keys_are_named() {
    for (keys, part) in [
        (json!({ "validation": 1438 }), "data.validation: expected 1 to 1437"),
        (json!({ "validation": 0 }), "data.validation: expected a number of samples or a share"),
        (json!({ "validation": 1.5 }), "data.validation: expected a number of samples or a share"),
        (json!({ "limit": 1439 }), "data.limit: expected 1 to 1438"),
        (json!({ "limit": 0 }), "data.limit: expected at least 1"),
        (json!({ "resplit": 1797 }), "data.resplit: expected 1 to 1796"),
        (json!({ "classes": [1, 10] }), "data.classes: expected classes below 10, found 10"),
        (json!({ "classes": [1, 2, 1] }), "data.classes: expected each class once, found 1 twice"),
        (json!({ "classes": [] }), "data.classes: expected at least one class"),
        (json!({ "label_noise": { "kind": "symmetric", "rate": 0.1 } }), "data.label_noise.kind"),
        (json!({ "label_noise": { "kind": "symmetric_any", "rate": 1.1 } }), "data.label_noise.rate"),
        (json!({ "label_noise": { "kind": "symmetric_any", "rate": 0 } }), "data.label_noise.rate"),
        (json!({ "label_noise": { "kind": "asymmetric", "rate": 0.1 } }), "data.label_noise.map"),
        (
            json!({ "label_noise": { "kind": "asymmetric", "rate": 0.1, "map": { "3": 10 } } }),
            "data.label_noise.map: expected classes below 10, found 10",
        ),
        (
            json!({ "label_noise": { "kind": "asymmetric", "rate": 0.1, "map": { "x": 1 } } }),
            "data.label_noise.map: expected classes below 10, found \"x\"",
        ),
        (json!({ "label_noise": { "kind": "symmetric_any", "rate": 0.1, "of": 3 } }), "data.label_noise.of"),
        (
            json!({ "classes": [1], "label_noise": { "kind": "symmetric_any", "rate": 0.5 } }),
            "at least 2 classes",
        ),
        (json!({ "valdation": 3 }), "data.valdation"),
    ] {
        let found = refusal(keys.clone());
        assert!(found.contains(part), "{keys}: {found}");
    }
}

#[test]
fn a_model_is_built_for_the_chosen_classes() {
    let keys = parameters(json!({ "classes": [3, 4, 7] }));
    let spec = input_spec_with_options(&keys, crate::input_spec::digits).unwrap().unwrap();
    assert_eq!(spec.classes, 3);
}
