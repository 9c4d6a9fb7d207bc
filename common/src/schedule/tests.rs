//! Tests of learning rates against values worked out by hand.

use super::*;

fn schedule(shape: Shape) -> Schedule {
    Schedule { unit: Unit::Epoch, shape, warmup: 0, warmup_start: 0.1 }
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
    let warm = Schedule { warmup: 4, warmup_start: 0.2, ..schedule(Shape::Cosine { min_lr: 0.0 }) };
    let expected = [0.2, 0.4, 0.6, 0.8, 1.0];
    for (unit, expected) in expected.into_iter().enumerate() {
        assert_close(warm.learning_rate(1.0, unit as u64, 12), expected);
    }
    // Four of the eight units after the warm-up have passed.
    assert_close(warm.learning_rate(1.0, 8, 12), 0.5);
}

#[test]
fn milestones_count_from_the_start_of_the_run_not_from_the_end_of_the_warmup() {
    let multistep = schedule(Shape::Multistep { milestones: vec![3], gamma: 0.5 });
    let warm = Schedule { warmup: 2, warmup_start: 0.5, ..multistep };
    let rates: Vec<f64> = (0..5).map(|unit| warm.learning_rate(1.0, unit, 5)).collect();
    assert_eq!(rates, [0.5, 0.75, 1.0, 0.5, 0.5]);
}

#[test]
fn a_unit_beyond_the_run_is_no_division_by_zero() {
    let cosine = Schedule { warmup: 1, warmup_start: 1.0, ..schedule(Shape::Cosine { min_lr: 0.0 }) };
    assert!(cosine.learning_rate(1.0, 1, 1).is_finite());
}

#[test]
fn polynomial_takes_a_power_of_what_is_left() {
    let polynomial = |power| schedule(Shape::Polynomial { min_lr: 0.1, power });
    assert_close(polynomial(1.0).learning_rate(1.1, 3, 4), 0.1 + 0.25);
    assert_close(polynomial(2.0).learning_rate(1.1, 2, 4), 0.1 + 0.25);
    assert_eq!(polynomial(0.9).learning_rate(1.1, 0, 4), 1.1);
    assert_eq!(polynomial(0.9).learning_rate(1.1, 9, 4), 0.1, "beyond the end");
    let warm = Schedule { warmup: 2, ..polynomial(1.0) };
    assert_close(warm.learning_rate(1.1, 4, 6), 0.1 + 0.5);
}

/// The phases of PyTorch's `OneCycleLR` end at `pct_start * total_steps - 1` and at `total_steps - 1`.
#[test]
fn one_cycle_rises_to_the_base_rate_and_falls_to_its_lowest_in_the_last_unit() {
    let cycle = schedule(Shape::OneCycle { pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4 });
    let rate = |unit| cycle.learning_rate(0.5, unit, 10);
    assert_close(rate(0), 0.02);
    assert_close(rate(1), f64::midpoint(0.02, 0.5));
    assert_close(rate(2), 0.5);
    // One of seven units down: cos(π/7).
    let lowest = 0.02 / 1e4;
    assert_close(rate(3), lowest + (0.5 - lowest) * (1.0 + (std::f64::consts::PI / 7.0).cos()) / 2.0);
    assert_close(rate(9), lowest);
    assert_close(rate(12), lowest);
    for units in 1..4 {
        assert!((0..units).all(|unit| cycle.learning_rate(0.5, unit, units).is_finite()), "{units} units");
    }
}

#[test]
fn the_unit_decides_what_of_a_position_counts() {
    let length = crate::sampling::Length::Epochs(4);
    let plan = Plan::new(10, 3, false, 2, length).expect("a plan");
    let position = plan.position(5);
    assert_eq!((position.epoch, plan.outer_steps), (2, 8));
    let line = schedule(Shape::Polynomial { min_lr: 0.0, power: 1.0 });
    assert_close(line.at(1.0, &plan, position), 0.5);
    assert_close(Schedule { unit: Unit::Step, ..line }.at(1.0, &plan, position), 3.0 / 8.0);
}
