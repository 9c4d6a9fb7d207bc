//! Tests of the arithmetic against plain loops.

use super::*;

/// Values below 1 without a pattern and of very different sizes, so that sums depend on their order.
pub(super) fn values(len: usize, salt: u32) -> Vec<f32> {
    let mut state = salt.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = 0.5_f32.powi(((state >> 4) & 15) as i32);
        size * ((state >> 8) as f32 / (1_u32 << 23) as f32 - 1.0)
    };
    (0..len).map(|_| next()).collect()
}

/// The sum by its definition: sixteen partial sums by index, added in order.
fn by_lanes(terms: &[f64]) -> f64 {
    let lane = |lane: usize| terms.iter().skip(lane).step_by(16).fold(0.0, |sum, term| sum + term);
    (0..16).map(lane).fold(0.0, |sum, lane| sum + lane)
}

#[test]
fn sums_have_the_defined_order_whatever_the_length() {
    for len in [0, 1, 15, 16, 17, 31, 100, 4096] {
        let (x, y, o) = (values(len, 1), values(len, 2), values(len, 3));
        let squares: Vec<f64> = x.iter().map(|&x| f64::from(x) * f64::from(x)).collect();
        assert_eq!(sum_of_squares(&x).to_bits(), by_lanes(&squares).to_bits());
        let products: Vec<f64> = (0..len)
            .map(|i| (f64::from(x[i]) - f64::from(o[i])) * (f64::from(y[i]) - f64::from(o[i])))
            .collect();
        assert_eq!(dot_of_differences(&x, &y, &o).to_bits(), by_lanes(&products).to_bits());
    }
}

#[test]
fn scaled_sum_of_squares_scales_with_the_size_of_the_weights() {
    let found = scaled_sum_of_squares(&[2.0, 1.0], &[-0.5, 3.0], 0.25);
    assert_eq!(found, (0.75 * 2.0_f64).powi(2) + 3.25_f64.powi(2));
}

#[test]
fn a_sum_of_squares_is_finite_exactly_where_all_values_are() {
    assert!(sum_of_squares(&[f32::MAX; 4096]).is_finite());
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = vec![0.0; 100];
        values[97] = bad;
        assert!(!sum_of_squares(&values).is_finite());
    }
}

#[test]
fn add_assign_adds_every_element_of_arrays_of_any_length() {
    for len in [0, 1, GRAIN - 1, GRAIN, 2 * GRAIN + 3] {
        let (mut left, right) = (values(len, 4), values(len, 5));
        let expected: Vec<f32> = left.iter().zip(&right).map(|(l, r)| l + r).collect();
        add_assign(&mut left, &right);
        assert_eq!(left, expected);
    }
}

#[test]
fn ascents_move_along_the_scaled_gradient() {
    let mut weights = [1.0, -3.0];
    ascend(&mut weights, &[2.0, 4.0], 0.5);
    assert_eq!(weights, [2.0, -1.0]);
    ascend_scaled(&mut weights, &[1.0, 1.0], 0.5, 1.0);
    assert_eq!(weights, [2.0 + 0.5 * 9.0, -1.0 + 0.5 * 4.0]);
}

#[test]
fn interpolation_goes_the_given_part_of_the_way() {
    let mut weights = [3.0, -1.0];
    interpolate(&mut weights, &[1.0, 1.0], 0.25);
    assert_eq!(weights, [1.5, 0.5]);
}

#[test]
fn running_averages_move_a_tenth_of_the_way() {
    let mut running = [1.0];
    average(&mut running, &[11.0], 0.1);
    assert_eq!(running, [0.9_f32 + 0.1 * 11.0]);
}

const SGD: SgdStep = SgdStep { lr: 0.5, momentum: 0.5, weight_decay: 0.25, nesterov: false };

#[test]
fn sgd_adds_the_decay_to_the_gradient() {
    let mut weights = [4.0];
    sgd(&mut weights, &[1.0], SGD);
    assert_eq!(weights, [4.0 - 0.5 * (1.0 + 0.25 * 4.0)]);
}

#[test]
fn momentum_starts_as_the_first_gradient_with_decay() {
    let (mut weights, mut momentum) = ([4.0], [0.0]);
    sgd_with_momentum(&mut weights, &[1.0], &mut momentum, SGD);
    assert_eq!((weights, momentum), ([3.0], [2.0]));
    sgd_with_momentum(&mut weights, &[1.0], &mut momentum, SGD);
    assert_eq!(momentum, [0.5 * 2.0 + 1.75]);
    assert_eq!(weights, [3.0 - 0.5 * 2.75]);
}

#[test]
fn nesterov_looks_ahead_along_the_momentum() {
    let (mut weights, mut momentum) = ([4.0], [0.0]);
    sgd_with_momentum(&mut weights, &[1.0], &mut momentum, SgdStep { nesterov: true, ..SGD });
    assert_eq!((weights, momentum), ([4.0 - 0.5 * (2.0 + 0.5 * 2.0)], [2.0]));
}
