//! Attention agrees with its definition.

use super::super::agreement::assert_agreement;
use super::*;
use crate::definitions;

#[test]
fn attention_and_its_gradients_are_the_exact_ones_but_for_rounding() {
    for (n, tokens, channels, heads) in [(1, 2, 4, 1), (2, 5, 12, 3), (2, 17, 64, 4), (1, 65, 32, 2)] {
        let shape: &[usize] = &[n, tokens, channels];
        assert_agreement(
            &[shape; 3],
            |x| attention(&x[0], &x[1], &x[2], heads),
            |x| definitions::attention([&x[0], &x[1], &x[2]], heads),
        );
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let x = Tensor::full(1e3_f32, (1, 3, 4), &Device::Cpu).unwrap();
    let result = attention(&x, &x, &x, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(result.iter().all(|value| (value - 1e3).abs() < 1e-3), "{result:?}");
}

#[test]
fn heads_that_do_not_divide_the_channels_are_refused() {
    let x = Tensor::zeros((1, 3, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let said = attention(&x, &x, &x, 3).unwrap_err().to_string();
    assert!(said.contains("[1, 3, 4]") && said.contains("3 heads"), "{said}");
    let x = Tensor::zeros((1, 0, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let said = attention(&x, &x, &x, 2).unwrap_err().to_string();
    assert!(said.contains("[1, 0, 4]"), "{said}");
}
