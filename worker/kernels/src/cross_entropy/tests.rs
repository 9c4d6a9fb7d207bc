use candle_core::{Device, Tensor};

use super::*;
use lookbehind_common::target::MixedClass;

/// Losses of samples with one class each, without smoothing.
fn plain(logits: &[f32], classes: usize, targets: &[u32], denominator: u64) -> CrossEntropy {
    let targets: Vec<Target> = targets.iter().copied().map(Target::from).collect();
    cross_entropy(logits, classes, &targets, 0.0, denominator).unwrap()
}

fn mixture(class: u32, other: u32, share: f32) -> Target {
    Target { class, mixed: Some(MixedClass { class: other, share }) }
}

/// The loss by its definition, in f64.
fn reference_loss(row: &[f32], target: usize) -> f64 {
    let total: f64 = row.iter().map(|&z| f64::from(z).exp()).sum();
    total.ln() - f64::from(row[target])
}

#[test]
fn losses_and_gradients_follow_the_definition() {
    let logits = [1.0_f32, -2.0, 0.5, 0.0, 3.0, -1.0];
    let result = plain(&logits, 3, &[0, 2], 5);
    let expected = reference_loss(&logits[..3], 0) + reference_loss(&logits[3..], 2);
    assert!((result.sums.loss - expected).abs() < 1e-6);
    assert_eq!((result.sums.samples, result.sums.correct), (2, 1));

    for (index, &found) in result.gradient.iter().enumerate() {
        let shifted = |by: f32| {
            let mut logits = logits;
            logits[index] += by;
            reference_loss(&logits[..3], 0) + reference_loss(&logits[3..], 2)
        };
        let expected = (shifted(0.001) - shifted(-0.001)) / 0.002 / 5.0;
        assert!((f64::from(found) - expected).abs() < 1e-4, "{index}: {found}, expected {expected}");
    }
}

#[test]
fn large_logits_do_not_overflow() {
    let result = plain(&[1e30, 0.0, -1e30, 0.0, 500.0, 0.0], 3, &[0, 0], 2);
    assert_eq!(result.sums.loss, 500.0);
    assert_eq!(result.gradient[..3], [0.0, 0.0, 0.0]);
    assert_eq!(result.gradient[3..], [-0.5, 0.5, 0.0]);
}

#[test]
fn among_equal_logits_the_first_is_the_prediction() {
    let correct = |target| plain(&[1.0, 2.0, 2.0, 0.0], 4, &[target], 1).sums.correct;
    assert_eq!([0, 1, 2, 3].map(correct), [0, 1, 0, 0]);
}

#[test]
fn not_a_number_spoils_its_own_sample_and_is_never_right() {
    let row = [0.0_f32, 1.0, f32::NAN, 0.0, 1.0, 2.0];
    for target in 0..3 {
        let result = plain(&row, 3, &[target, 2], 1);
        assert!(result.sums.loss.is_nan());
        assert_eq!(result.sums.correct, 1);
        assert!(result.gradient[..3].iter().all(|g| g.is_nan()));
        assert!(result.gradient[3..].iter().all(|g| g.is_finite()));
    }
    assert!(plain(&[f32::INFINITY, 0.0], 2, &[0], 1).sums.loss.is_nan());
}

#[test]
fn logits_of_another_shape_or_type_are_refused() {
    let of = |tensor: Tensor| of_logits(&tensor, &[Target::from(0), Target::from(1)], 0.0, 2);
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    assert!(of(zeros(&[2, 3], DType::F32)).is_ok());
    assert!(of(zeros(&[3, 3], DType::F32)).unwrap_err().to_string().contains("expected [2, classes]"));
    assert!(of(zeros(&[2, 3], DType::F64)).is_err());
    assert!(of(zeros(&[6], DType::F32)).is_err());
}

#[test]
fn targets_without_a_class_and_logits_without_a_sample_are_refused() {
    let refused = |targets: &[Target]| cross_entropy(&[0.0; 6], 3, targets, 0.0, 2).unwrap_err().to_string();
    assert!(refused(&[Target::from(0)]).starts_with("6 logits, expected 1 samples of 3 classes"));
    assert!(
        refused(&[Target::from(0), Target::from(3)])
            .starts_with("a target of class 3, expected one of 3 classes")
    );
    assert!(
        refused(&[mixture(0, 7, 0.1), Target::from(1)])
            .starts_with("a target of class 7, expected one of 3 classes")
    );
    assert!(cross_entropy(&[], 0, &[Target::from(0)], 0.0, 1).is_err());
}

#[test]
fn mixtures_and_smoothing_spread_the_target_over_the_classes() {
    let row = [0.5_f32, -1.0, 2.0, 0.25];
    for (target, smoothing, shares) in [
        (mixture(0, 2, 0.25), 0.0, [0.75, 0.0, 0.25, 0.0]),
        (Target::from(1), 0.2, [0.05, 0.85, 0.05, 0.05]),
        (mixture(3, 1, 0.5), 0.1, [0.025, 0.475, 0.025, 0.475]),
        (mixture(2, 2, 0.375), 0.0, [0.0, 0.0, 1.0, 0.0]),
    ] {
        let loss =
            |row: &[f32]| -> f64 { (0..4).map(|class| shares[class] * reference_loss(row, class)).sum() };
        let result = cross_entropy(&row, 4, &[target], smoothing, 2).unwrap();
        assert!((result.sums.loss - loss(&row)).abs() < 1e-6, "{target:?}");
        for (index, &found) in result.gradient.iter().enumerate() {
            let shifted = |by: f32| {
                let mut row = row;
                row[index] += by;
                loss(&row)
            };
            let expected = (shifted(0.001) - shifted(-0.001)) / 0.002 / 2.0;
            assert!((f64::from(found) - expected).abs() < 1e-4, "{index}: {found}, expected {expected}");
        }
    }
}

#[test]
fn a_mixture_without_a_second_share_is_the_plain_loss_to_the_last_bit() {
    let row = [0.3_f32, -0.7, 1.9, 1e-3];
    let expected = plain(&row, 4, &[2], 3);
    assert_eq!(cross_entropy(&row, 4, &[mixture(2, 0, 0.0)], 0.0, 3).unwrap(), expected);
}

#[test]
fn of_a_mixture_the_heavier_class_counts_as_right() {
    let correct = |target| cross_entropy(&[0.0, 3.0, 1.0], 3, &[target], 0.1, 1).unwrap().sums.correct;
    assert_eq!(correct(mixture(0, 1, 0.6)), 1);
    assert_eq!(correct(mixture(0, 1, 0.4)), 0);
    assert_eq!(correct(mixture(1, 0, 0.5)), 1);
}

#[test]
fn an_infinite_logit_of_another_class_leaves_the_loss_finite() {
    let row = [0.0_f32, f32::NEG_INFINITY, 1.0];
    assert!(plain(&row, 3, &[0], 1).sums.loss.is_finite());
    assert!(cross_entropy(&row, 3, &[mixture(0, 2, 0.3)], 0.0, 1).unwrap().sums.loss.is_finite());
}
