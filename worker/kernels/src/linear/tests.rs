use candle_core::Var;

use super::*;
use crate::agreement::assert_agreement;
use crate::definitions;

fn variable(shape: (usize, usize), start: f32) -> Var {
    let elements = (0..shape.0 * shape.1).map(|i| start + 0.5 * i as f32).collect();
    Var::from_vec(elements, shape, &Device::Cpu).unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.to_vec2().unwrap()
}

#[test]
fn result_and_gradients_equal_the_composed_operation() {
    let (x, weight) = (variable((4, 3), -2.0), variable((2, 3), 1.0));
    let bias = Var::new(&[0.25_f32, -0.75], &Device::Cpu).unwrap();
    let outer = Tensor::new(&[[1.0_f32, 2.0], [-1.0, 0.5], [3.0, 0.0], [0.0, -2.0]], &Device::Cpu).unwrap();
    let loss = |y: &Tensor| (y * &outer).unwrap().sum_all().unwrap().backward().unwrap();

    let fused = linear(&x, &weight, &bias).unwrap();
    let composed = x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
    assert_eq!(rows(&fused), rows(&composed));
    let (fused, composed) = (loss(&fused), loss(&composed));
    for variable in [&x, &weight] {
        assert_eq!(rows(fused.get(variable).unwrap()), rows(composed.get(variable).unwrap()));
    }
    let bias_gradient =
        |store: &candle_core::backprop::GradStore| store.get(&bias).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(bias_gradient(&fused), bias_gradient(&composed));
    assert_eq!(bias_gradient(&fused), [3.0, 0.5]);
}

#[test]
fn result_and_gradients_are_the_exact_ones_but_for_rounding() {
    assert_agreement(
        &[&[7, 33], &[10, 33], &[10]],
        |x| linear(&x[0], &x[1], &x[2]),
        |x| definitions::linear(&x[0], &x[1], &x[2]),
    );
}

#[test]
fn inputs_without_gradient_and_in_any_memory_order_are_taken() {
    let x = variable((3, 4), -2.0).as_detached_tensor().t().unwrap();
    let weight = variable((2, 3), 1.0);
    let bias = Var::new(&[0.0_f32, 0.0], &Device::Cpu).unwrap();
    let y = linear(&x, &weight, &bias).unwrap();
    assert_eq!(rows(&y), rows(&x.matmul(&weight.t().unwrap()).unwrap()));
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(&x).is_none());
    assert_eq!(gradients.get(&weight).unwrap().dims(), [2, 3]);
}

#[test]
fn of_a_frozen_weight_no_gradient_is_computed_and_the_others_stay_the_same() {
    let (x, weight) = (variable((4, 3), -2.0), variable((2, 3), 1.0));
    let bias = Var::new(&[0.25_f32, -0.75], &Device::Cpu).unwrap();
    let outer = Tensor::new(&[[1.0_f32, 2.0], [-1.0, 0.5], [3.0, 0.0], [0.0, -2.0]], &Device::Cpu).unwrap();
    let gradients = |weight: &Tensor| {
        Linear(Precision::F32).gradients([x.as_tensor(), weight, bias.as_tensor()], &outer, &outer).unwrap()
    };
    let [of_x, _, of_bias] = gradients(weight.as_tensor()).map(Option::unwrap);
    let [same_x, none, same_bias] = gradients(&weight.as_detached_tensor());
    assert!(none.is_none());
    assert_eq!(rows(&same_x.unwrap()), rows(&of_x));
    assert_eq!(same_bias.unwrap().to_vec1::<f32>().unwrap(), of_bias.to_vec1::<f32>().unwrap());
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let bias = Var::new(&[0.0_f32, 0.0], &Device::Cpu).unwrap();
    let error = linear(&variable((4, 3), 0.0), &variable((2, 5), 0.0), &bias).unwrap_err().to_string();
    assert!(error.contains("inputs [n, 3], weight [2, 5] and bias [2] do not fit"), "{error}");
}

#[test]
fn the_gradient_of_a_bias_is_exact_over_many_rows() {
    let rows = 40_000;
    let x = Tensor::ones((rows, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    let bias = Var::new(&[0_f32], &Device::Cpu).unwrap();
    let outer = Tensor::full(0.1_f32, (rows, 1), &Device::Cpu).unwrap();
    let loss = (super::add_bias(&x, &bias).unwrap() * outer).unwrap().sum_all().unwrap();
    let gradient = loss.backward().unwrap().get(&bias).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(gradient, [(40_000.0 * f64::from(0.1_f32)) as f32]);
}
