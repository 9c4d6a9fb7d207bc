use candle_core::{Device, Var};

use super::relu;

#[test]
fn the_gradient_passes_where_the_input_is_above_zero_and_only_there() {
    let x = Var::from_vec(vec![-1.0_f32, 0.0, -0.0, 2.0, f32::NAN, 3.0], (2, 3), &Device::Cpu).unwrap();
    let y = relu(&x).unwrap();
    let weights = candle_core::Tensor::new(&[[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu).unwrap();
    let gradients = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();

    let flat = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let values = flat(&y);
    assert_eq!(values[..4], [0.0, 0.0, 0.0, 2.0]);
    assert!(values[4].is_nan());
    let gradient = flat(gradients.get(&x).unwrap());
    assert_eq!(gradient, [0.0, 0.0, 0.0, 4.0, 5.0, 6.0]);
}

#[test]
fn inputs_and_gradients_in_any_memory_order_are_taken() {
    let x = Var::from_vec(vec![-1.0_f32, 2.0, 3.0, -4.0], (2, 2), &Device::Cpu).unwrap();
    let y = relu(&x.t().unwrap()).unwrap();
    assert_eq!(y.to_vec2::<f32>().unwrap(), [[0.0, 3.0], [2.0, 0.0]]);
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(gradients.get(&x).unwrap().to_vec2::<f32>().unwrap(), [[0.0, 1.0], [1.0, 0.0]]);
}
