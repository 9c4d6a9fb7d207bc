//! Batch normalisation agrees with its definition.

use candle_core::{DType, Device};

use super::*;
use crate::agreement::assert_agreement;
use crate::agreement::normal_values;
use crate::definitions;

const EPS: f64 = 1e-5;

fn affine<'a>(weight: &'a Tensor, bias: &'a Tensor) -> Affine<'a> {
    Affine { weight, bias, eps: EPS }
}

#[test]
fn result_and_gradients_are_the_exact_ones_but_for_rounding() {
    for (shape, channels) in [(&[2_usize, 3, 4, 5][..], 5), (&[600, 33], 33), (&[7, 1], 1)] {
        for activation in [Activation::Identity, Activation::Relu] {
            let kernel =
                |x: &[Tensor]| Ok(batch_norm(&x[0], &affine(&x[1], &x[2]), x.get(3), activation)?.output);
            let exact = |x: &[Tensor]| definitions::batch_norm(x, EPS, activation);
            assert_agreement(&[shape, &[channels], &[channels]], kernel, exact);
            assert_agreement(&[shape, &[channels], &[channels], shape], kernel, exact);
        }
    }
}

#[test]
fn mean_and_unbiased_variance_of_each_channel_are_reported() {
    let x = Tensor::new(&[[1_f32, 10.0], [2.0, 10.0], [6.0, 10.0]], &Device::Cpu).unwrap();
    let (weight, bias) = (
        Tensor::ones(2, DType::F32, &Device::Cpu).unwrap(),
        Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap(),
    );
    let normalized = batch_norm(&x, &affine(&weight, &bias), None, Activation::Identity).unwrap();
    assert_eq!(normalized.mean.to_vec1::<f32>().unwrap(), [3.0, 10.0]);
    assert_eq!(normalized.variance.to_vec1::<f32>().unwrap(), [7.0, 0.0]);
}

#[test]
fn a_small_variance_with_a_large_mean_is_kept() {
    let values: Vec<f32> = normal_values(3, 1000).iter().map(|value| 1000.0 + value).collect();
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / 1000.0;
    let exact = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / 999.0;
    let x = Tensor::from_vec(values, (1000, 1), &Device::Cpu).unwrap();
    let (weight, bias) = (
        Tensor::ones(1, DType::F32, &Device::Cpu).unwrap(),
        Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap(),
    );
    let found = batch_norm(&x, &affine(&weight, &bias), None, Activation::Identity).unwrap().variance;
    assert!((f64::from(found.to_vec1::<f32>().unwrap()[0]) / exact - 1.0).abs() < 1e-6);
}

#[test]
fn given_running_statistics_are_used_where_nothing_is_trained() {
    let x = Tensor::new(&[[3_f32], [5.0]], &Device::Cpu).unwrap();
    let one = |value: f32| Tensor::new(&[value], &Device::Cpu).unwrap();
    let (weight, bias, mean, variance) = (one(2.0), one(1.0), one(4.0), one(0.25 - EPS as f32));
    let affine = affine(&weight, &bias);
    let y = batch_norm_inference(&x, &affine, &mean, &variance, Some(&x), Activation::Relu).unwrap();
    let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!((y[0] - 0.0).abs() < 1e-4 && (y[1] - 10.0).abs() < 1e-4, "{y:?}");
}

#[test]
fn one_value_per_channel_and_shapes_that_do_not_fit_are_refused() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let (weight, bias) = (zeros(&[3]), zeros(&[3]));
    let refused = |x: &[usize], residual: Option<&Tensor>| {
        batch_norm(&zeros(x), &affine(&weight, &bias), residual, Activation::Identity)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&[1, 1, 1, 3], None).contains("1 value per channel, expected 2 or more"));
    assert!(refused(&[0, 3], None).contains("normalisation of [0, 3]"));
    assert!(refused(&[2, 4], None).contains("expected F32 with one of each for every channel"));
    assert!(refused(&[2, 3], Some(&zeros(&[3, 3]))).contains("residual of shape [3, 3], expected [2, 3]"));
}
