//! Tests of adaptive interpolation factors.

use super::*;

fn block(tensor: usize) -> Block {
    Block { start: 0, len: 0, tensor, scaled: true, ascends: true, kind: Some(0) }
}

fn alpha_between(first: &[f32], last: &[f32]) -> f64 {
    let slow = vec![0.0; first.len()];
    Alphas::new(&[block(0)], &[angle_sums(first, last, &slow)]).of_tensors[0]
}

#[test]
fn the_factor_falls_from_one_to_zero_as_the_movements_turn_apart() {
    assert!((alpha_between(&[1.0, 2.0], &[2.0, 4.0]) - 1.0).abs() < 1e-15);
    assert_eq!(alpha_between(&[1.0, 0.0], &[0.0, 3.0]), 0.5);
    assert!(alpha_between(&[1.0, 2.0], &[-1.0, -2.0]).abs() < 1e-15);
    // 45°
    assert!((alpha_between(&[1.0, 0.0], &[2.0, 2.0]) - (0.5_f64.sqrt() + 1.0) / 2.0).abs() < 1e-15);
}

#[test]
fn no_movement_has_the_factor_of_a_right_angle() {
    assert_eq!(alpha_between(&[0.0, 0.0], &[0.0, 0.0]), 0.5);
    assert_eq!(alpha_between(&[0.0, 0.0], &[1.0, 0.0]), 0.5);
}

#[test]
fn each_tensor_has_the_factor_of_all_its_blocks() {
    let blocks = [block(0), block(0), block(1)];
    let sums = [[1.0, 2.0, 0.5], [3.0, 7.0, 1.5], [4.0, 1.0, 2.0]];
    let alphas = Alphas::new(&blocks, &sums);
    assert_eq!(alphas.of_tensors, [(2.0 / (2.0 * 3.0) + 1.0) / 2.0, 1.0]);
    assert_eq!(alphas.summary.mean, f64::midpoint(alphas.of_tensors[0], 1.0));
}

#[test]
fn a_tensor_that_is_not_perturbed_follows_the_mean_of_the_others_and_does_not_enter_it() {
    let excluded = Block { ascends: false, ..block(1) };
    let blocks = [block(0), excluded, excluded, block(2)];
    let sums = [[1.0, 1.0, 1.0], [4.0, 1.0, -2.0], [4.0, 1.0, -2.0], [1.0, 1.0, 0.0]];
    let alphas = Alphas::new(&blocks, &sums);
    assert_eq!((alphas.of_tensors, alphas.summary.mean), (vec![1.0, 0.75, 0.5], 0.75));
}

#[test]
fn tensors_are_interpolated_by_their_own_factors() {
    let blocks = [
        Block { len: 1, ..block(0) },
        Block { start: 1, len: 2, scaled: false, ..block(1) },
        Block { start: 3, len: 1, kind: None, ..block(2) },
    ];
    let (mut weights, slow) =
        (FlatBuffer::from(vec![4.0, 4.0, 8.0, -0.0]), FlatBuffer::from(vec![0.0, 2.0, 0.0, -0.0]));
    interpolate_tensors(&blocks, &mut weights, &slow, &[0.25, 0.5, 0.5]);
    assert_eq!(weights[..3], [1.0, 3.0, 4.0]);
    assert_eq!(weights[3].to_bits(), (-0.0_f32).to_bits(), "what is frozen keeps every bit");
}
