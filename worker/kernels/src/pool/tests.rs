//! Pooling agrees with its definition.

use super::super::agreement::assert_agreement;
use super::*;
use crate::definitions;

const POOLS: [Pool2d; 3] = [
    Pool2d { size: 2, stride: 2, padding: 0 },
    Pool2d { size: 3, stride: 1, padding: 0 },
    Pool2d { size: 3, stride: 2, padding: 1 },
];

#[test]
fn pooling_and_its_gradients_are_the_exact_ones_but_for_rounding() {
    for pool in POOLS {
        let shapes: [&[usize]; 1] = [&[2, 7, 6, 5]];
        assert_agreement(&shapes, |x| avg_pool2d(&x[0], pool), |x| definitions::avg_pool2d(&x[0], pool));
        assert_agreement(&shapes, |x| max_pool2d(&x[0], pool), |x| definitions::max_pool2d(&x[0], pool));
    }
    assert_agreement(&[&[3, 4, 5, 6]], |x| global_avg_pool(&x[0]), |x| definitions::global_avg_pool(&x[0]));
}

#[test]
fn the_first_of_equal_elements_gets_the_gradient() {
    let x = candle_core::Var::from_tensor(
        &Tensor::ones((1, 2, 2, 1), candle_core::DType::F32, &Device::Cpu).unwrap(),
    );
    let x = x.unwrap();
    let gradients = max_pool2d(x.as_tensor(), POOLS[0]).unwrap().sum_all().unwrap().backward().unwrap();
    let gradient = gradients.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(gradient, [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let x = Tensor::zeros((1, 2, 5, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    for pool in
        [Pool2d { size: 3, ..POOLS[0] }, Pool2d { stride: 0, ..POOLS[0] }, Pool2d { padding: 2, ..POOLS[0] }]
    {
        let said = max_pool2d(&x, pool).unwrap_err().to_string();
        assert!(said.contains("do not fit into an image of 2x5"), "{said}");
    }
    let x = Tensor::zeros((0, 4, 4, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    let said = avg_pool2d(&x, POOLS[0]).unwrap_err().to_string();
    assert!(said.contains("expected at least one number"), "{said}");
}
