//! Normalisation within a sample agrees with its definition.

use candle_core::DType;

use super::*;
use crate::agreement::assert_agreement;
use crate::definitions;

const EPS: f64 = 1e-5;

fn affine<'a>(weight: &'a Tensor, bias: &'a Tensor) -> Affine<'a> {
    Affine { weight, bias, eps: EPS }
}

#[test]
fn group_norm_and_its_gradients_are_the_exact_ones_but_for_rounding() {
    for (shape, groups) in [(&[2_usize, 3, 4, 6][..], 3), (&[3, 2, 2, 8], 1), (&[2, 5, 4], 2), (&[4, 6], 2)] {
        let channels = shape[shape.len() - 1];
        let exact = |x: &[Tensor]| definitions::group_norm(&x[0], groups, [&x[1], &x[2]], EPS);
        let kernel = |x: &[Tensor]| group_norm(&x[0], groups, &affine(&x[1], &x[2]));
        assert_agreement(&[shape, &[channels], &[channels]], kernel, exact);
    }
}

#[test]
fn layer_norm_and_its_gradients_are_the_exact_ones_but_for_rounding() {
    let exact = |x: &[Tensor]| definitions::layer_norm(&x[0], [&x[1], &x[2]], EPS);
    assert_agreement(&[&[2, 5, 24], &[24], &[24]], |x| layer_norm(&x[0], &affine(&x[1], &x[2])), exact);
}

#[test]
fn groups_that_do_not_divide_the_channels_are_refused() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let (weight, bias) = (zeros(&[6]), zeros(&[6]));
    let said = group_norm(&zeros(&[2, 4, 6]), 4, &affine(&weight, &bias)).unwrap_err().to_string();
    assert!(said.contains("6 channels of [2, 4, 6] in 4 groups"), "{said}");
}
