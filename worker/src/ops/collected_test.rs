use candle_core::{Device, Var};

use super::*;
use crate::ops::linear;

fn variable(rows: &[[f32; 2]; 2]) -> Var {
    Var::new(rows, &Device::Cpu).unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.to_vec2().unwrap()
}

/// A loss in which the weight takes part twice in our operations and once in one of the tensor library's.
fn loss(x: &Tensor, weight: &Var) -> Tensor {
    let bias = Tensor::zeros(2, candle_core::DType::F32, &Device::Cpu).unwrap();
    let y = linear(&linear(x, weight, &bias).unwrap(), weight, &bias).unwrap();
    (y.sum_all().unwrap() + weight.sqr().unwrap().sum_all().unwrap()).unwrap()
}

#[test]
fn what_is_collected_and_what_the_library_has_add_up_to_the_gradient() {
    let x = Tensor::new(&[[1_f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
    let weight = variable(&[[0.5, -1.0], [2.0, 0.25]]);
    let whole = loss(&x, &weight).backward().unwrap();
    let (library, collected) = collect(|| loss(&x, &weight).backward().unwrap());
    let sum = (library.get(&weight).unwrap() + collected.get(&weight).unwrap()).unwrap();
    assert_eq!(rows(&sum), rows(whole.get(&weight).unwrap()));
}

#[test]
fn nothing_is_collected_after_a_pass_that_panicked() {
    let pass = std::panic::AssertUnwindSafe(|| collect(|| panic!("a model's fault")));
    assert!(std::panic::catch_unwind(pass).is_err());
    let weight = variable(&[[1.0, 2.0], [3.0, 4.0]]);
    assert!(returned(&weight, weight.as_tensor().copy().unwrap()).unwrap().is_some());
}
