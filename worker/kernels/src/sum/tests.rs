//! Sums agree with their definition.

use super::super::agreement::assert_agreement;
use super::*;

#[test]
fn a_sum_and_its_gradients_are_the_exact_ones_but_for_rounding() {
    for shape in [&[3][..], &[2, 5, 7], &[4, 130, 97]] {
        assert_agreement(&[shape; 2], |x| sum(&x[0], &x[1]), |x| &x[0] + &x[1]);
    }
}

#[test]
fn other_shapes_are_refused() {
    let zeros =
        |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    assert!(sum(&zeros(&[2, 3]), &zeros(&[3, 2])).is_err());
    assert!(sum(&zeros(&[2, 3]), &zeros(&[3])).is_err());
}
