use candle_core::{Device, Result, Tensor, Var};

use super::*;
use crate::agreement::normal_values;
use crate::tape::record;
use crate::{Conv2d, attention, conv2d, linear};

fn tensor(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::from_vec(normal_values(seed, shape.iter().product()), shape, &Device::Cpu).unwrap()
}

fn all(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn to_bf16(tensor: &Tensor) -> Tensor {
    tensor.to_dtype(candle_core::DType::BF16).unwrap().to_dtype(candle_core::DType::F32).unwrap()
}

/// The function's result and the gradients of its arguments; `seedling` makes the result's gradient.
fn computed(
    precision: Precision,
    arguments: &[Tensor],
    function: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    seedling: impl Fn(Tensor) -> Tensor,
) -> Vec<Vec<f32>> {
    let variables: Vec<Var> = arguments.iter().map(|argument| Var::from_tensor(argument).unwrap()).collect();
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let (result, tape) = record(|| with_precision(precision, || function(&tensors).unwrap()));
    let gradient = seedling(tensor(99, result.dims()));
    let mut found = vec![all(&result)];
    let gradients = tape.backward(result, gradient).unwrap();
    found.extend(variables.iter().map(|variable| all(gradients.get(variable).unwrap())));
    found
}

#[test]
fn bf16_keeps_eight_bits_to_nearest_ties_to_even() {
    let rounded = |x| operand(Precision::Bf16, &[x])[0];
    for (x, expected) in [
        (1.0, 1.0),
        (1.0 + 1.0 / 256.0, 1.0),
        (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
        (-1.0 - 1.1 / 256.0, -1.0 - 2.0 / 256.0),
        (f32::MAX, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
    ] {
        assert_eq!(rounded(x), expected, "{x}");
    }
    assert!(rounded(f32::NAN).is_nan());
    assert_eq!(operand(Precision::F32, &[0.1, -0.3])[..], [0.1, -0.3]);
}

#[test]
fn products_are_those_of_rounded_operands_both_ways() {
    type Function = fn(&[Tensor]) -> Result<Tensor>;
    let cases: [(&str, &[&[usize]], Function); 3] = [
        ("3×3 windows", &[&[2, 6, 6, 4], &[5, 4, 3, 3]], |x| {
            conv2d(&x[0], &x[1], Conv2d { padding: 1, ..Conv2d::default() })
        }),
        ("other windows", &[&[2, 6, 6, 4], &[5, 4, 2, 2]], |x| {
            conv2d(&x[0], &x[1], Conv2d { stride: 2, ..Conv2d::default() })
        }),
        ("linear", &[&[7, 6], &[3, 6]], |x| {
            linear(&x[0], &x[1], &Tensor::zeros(3, x[0].dtype(), &Device::Cpu)?)
        }),
    ];
    for (what, shapes, function) in cases {
        let arguments: Vec<Tensor> = (1..).zip(shapes).map(|(seed, shape)| tensor(seed, shape)).collect();
        let rounded: Vec<Tensor> = arguments.iter().map(to_bf16).collect();
        let found = computed(Precision::Bf16, &arguments, &function, |gradient| gradient);
        assert_eq!(
            found,
            computed(Precision::F32, &rounded, &function, |gradient| to_bf16(&gradient)),
            "{what}"
        );
        assert_ne!(found, computed(Precision::F32, &arguments, &function, |gradient| gradient), "{what}");
    }
}

#[test]
fn attention_is_that_of_f32_but_for_the_rounding_of_its_operands() {
    let arguments = [tensor(1, &[2, 5, 8]), tensor(2, &[2, 5, 8]), tensor(3, &[2, 5, 8])];
    let function = |x: &[Tensor]| attention(&x[0], &x[1], &x[2], 2);
    let [rounded, exact] = [Precision::Bf16, Precision::F32]
        .map(|precision| computed(precision, &arguments, &function, |gradient| gradient));
    assert_ne!(rounded, exact);
    for (rounded, exact) in rounded.iter().zip(&exact) {
        let scale = exact.iter().fold(0_f32, |scale, x| scale.max(x.abs()));
        let error = rounded.iter().zip(exact).fold(0_f32, |error, (a, b)| error.max((a - b).abs()));
        assert!(error <= scale / 32.0, "error {error}, scale {scale}");
    }
}

#[test]
fn a_precision_ends_with_its_pass_also_with_one_that_panics() {
    let pass = std::panic::AssertUnwindSafe(|| with_precision(Precision::Bf16, || panic!("a model's fault")));
    assert!(std::panic::catch_unwind(pass).is_err());
    assert_eq!(declared(), Precision::F32);
}
