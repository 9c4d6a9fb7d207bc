//! Tests of learning rates against values worked out by hand.

use super::*;

fn schedule(shape: Shape) -> Schedule {
    Schedule { shape, warmup: 0, warmup_start: 0.1 }
}

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-15 * expected.abs(), "found {found}, expected {expected}");
}

#[test]
fn constant_stays_at_the_base_rate() {
    let constant = schedule(Shape::Constant);
    for unit in [0, 1, 9] {
        assert_eq!(constant.learning_rate(0.3, unit, 10), 0.3);
    }
}

#[test]
fn multistep_multiplies_at_each_milestone_from_that_unit_on() {
    let multistep = schedule(Shape::Multistep { milestones: vec![1, 3], gamma: 0.1 });
    let rates: Vec<f64> = (0..5).map(|unit| multistep.learning_rate(0.1, unit, 5)).collect();
    assert_eq!(rates, [0.1, 0.1 * 0.1, 0.1 * 0.1, 0.1 * 0.1 * 0.1, 0.1 * 0.1 * 0.1]);
}

#[test]
fn cosine_goes_from_the_base_rate_halfway_down_in_the_middle_and_would_end_at_the_minimum() {
    let cosine = schedule(Shape::Cosine { min_lr: 0.01 });
    assert_close(cosine.learning_rate(0.21, 0, 8), 0.21);
    // cos(π/4) = √2/2, cos(π/2) = 0
    assert_close(cosine.learning_rate(0.21, 2, 8), 0.01 + 0.2 * (1.0 + 0.5_f64.sqrt()) / 2.0);
    assert_close(cosine.learning_rate(0.21, 4, 8), 0.11);
    assert_close(cosine.learning_rate(0.21, 8, 8), 0.01);
}

#[test]
fn warmup_climbs_a_line_to_the_base_rate_and_the_shape_follows() {
    let warm = Schedule { shape: Shape::Cosine { min_lr: 0.0 }, warmup: 4, warmup_start: 0.2 };
    let expected = [0.2, 0.4, 0.6, 0.8, 1.0];
    for (unit, expected) in expected.into_iter().enumerate() {
        assert_close(warm.learning_rate(1.0, unit as u64, 12), expected);
    }
    // Four of the eight units after the warm-up have passed.
    assert_close(warm.learning_rate(1.0, 8, 12), 0.5);
}

#[test]
fn milestones_count_from_the_start_of_the_run_not_from_the_end_of_the_warmup() {
    let warm = Schedule {
        shape: Shape::Multistep { milestones: vec![3], gamma: 0.5 },
        warmup: 2,
        warmup_start: 0.5,
    };
    let rates: Vec<f64> = (0..5).map(|unit| warm.learning_rate(1.0, unit, 5)).collect();
    assert_eq!(rates, [0.5, 0.75, 1.0, 0.5, 0.5]);
}

#[test]
fn a_unit_beyond_the_run_is_no_division_by_zero() {
    let cosine = Schedule { shape: Shape::Cosine { min_lr: 0.0 }, warmup: 1, warmup_start: 1.0 };
    assert!(cosine.learning_rate(1.0, 1, 1).is_finite());
}
