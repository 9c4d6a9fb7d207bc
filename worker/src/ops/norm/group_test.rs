//! Normalisation within a sample agrees with its definition.

use candle_core::DType;

use super::*;
use crate::ops::agreement::assert_agreement;

const EPS: f64 = 1e-5;

fn affine<'a>(weight: &'a Tensor, bias: &'a Tensor) -> Affine<'a> {
    Affine { weight, bias, eps: EPS }
}

/// Of the sets `[n, groups, numbers]`.
fn normal(sets: &Tensor) -> Result<Tensor> {
    let centred = sets.broadcast_sub(&sets.mean_keepdim(2)?)?;
    centred.broadcast_div(&(centred.sqr()?.mean_keepdim(2)? + EPS)?.sqrt()?)
}

#[test]
fn group_norm_and_its_gradients_are_the_exact_ones_but_for_rounding() {
    for (shape, groups) in [(&[2_usize, 3, 4, 6][..], 3), (&[3, 2, 2, 8], 1), (&[2, 5, 4], 2), (&[4, 6], 2)] {
        let (n, channels) = (shape[0], shape[shape.len() - 1]);
        let exact = |x: &[Tensor]| {
            let sets = x[0].reshape((n, (), groups, channels / groups))?.transpose(1, 2)?.contiguous()?;
            let y = normal(&sets.flatten_from(2)?)?.reshape(sets.shape())?.transpose(1, 2)?.contiguous()?;
            y.reshape(shape)?.broadcast_mul(&x[1])?.broadcast_add(&x[2])
        };
        let kernel = |x: &[Tensor]| group_norm(&x[0], groups, &affine(&x[1], &x[2]));
        assert_agreement(&[shape, &[channels], &[channels]], kernel, exact);
    }
}

#[test]
fn layer_norm_and_its_gradients_are_the_exact_ones_but_for_rounding() {
    let exact = |x: &[Tensor]| {
        let y = normal(&x[0].reshape((10, 1, 24))?)?.reshape((2, 5, 24))?;
        y.broadcast_mul(&x[1])?.broadcast_add(&x[2])
    };
    assert_agreement(&[&[2, 5, 24], &[24], &[24]], |x| layer_norm(&x[0], &affine(&x[1], &x[2])), exact);
}

#[test]
fn groups_that_do_not_divide_the_channels_are_refused() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let (weight, bias) = (zeros(&[6]), zeros(&[6]));
    let said = group_norm(&zeros(&[2, 4, 6]), 4, &affine(&weight, &bias)).unwrap_err().to_string();
    assert!(said.contains("6 channels of [2, 4, 6] in 4 groups"), "{said}");
}
