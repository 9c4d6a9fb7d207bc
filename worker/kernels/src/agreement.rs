//! Compares kernels with the same function in float64, composed of the tensor library's operations: results and the
//! gradients of all arguments.

use candle_core::{DType, Device, Result, Tensor, Var};
use lookbehind_common::random::{Key, Purpose};

use super::lanes::tests::on_each_machine;

/// Keyed values from a standard normal distribution.
pub(crate) fn normal_values(seed: u64, len: usize) -> Vec<f32> {
    let mut stream = Key::new(seed, Purpose::Probe).stream();
    (0..len).map(|_| stream.normal()).collect()
}

/// Largest error that rounding may cause, in units of ε times the largest value of the tensor.
const TOLERANCE: f64 = 40.0;

fn arguments(shapes: &[&[usize]], dtype: DType) -> Vec<Var> {
    let tensor = |(seed, shape): (u64, &&[usize])| {
        let len = shape.iter().product();
        let tensor = Tensor::from_vec(normal_values(seed, len), *shape, &Device::Cpu).unwrap();
        Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
    };
    (1..).zip(shapes).map(tensor).collect()
}

/// The result, followed by the gradients of all arguments for a keyed gradient of the result.
fn computed(
    shapes: &[&[usize]],
    dtype: DType,
    function: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<Vec<f64>> {
    let variables = arguments(shapes, dtype);
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let result = function(&tensors).unwrap();
    let seedling =
        Tensor::from_vec(normal_values(99, result.elem_count()), result.shape(), &Device::Cpu).unwrap();
    let loss = (&result * seedling.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    let mut tensors = vec![result];
    tensors.extend(variables.iter().map(|variable| gradients.get(variable).unwrap().clone()));
    let elements =
        |tensor: Tensor| tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    tensors.into_iter().map(elements).collect()
}

/// Asserts that a kernel agrees with its definition for arguments of the given shapes, and gives the same bytes with
/// every instruction set and number of threads.
pub(super) fn assert_agreement(
    shapes: &[&[usize]],
    kernel: impl Fn(&[Tensor]) -> Result<Tensor> + Sync,
    definition: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let results = on_each_machine(|| computed(shapes, DType::F32, &kernel));
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{shapes:?}: machines differ");
    let expected = computed(shapes, DType::F64, &definition);
    for (number, (found, expected)) in results[0].iter().zip(&expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{shapes:?}: tensor {number}");
        let scale = expected.iter().fold(0_f64, |scale, value| scale.max(value.abs()));
        let error = found.iter().zip(expected).fold(0_f64, |error, (a, b)| error.max((a - b).abs()));
        let unit = scale * f64::from(f32::EPSILON);
        assert!(
            error <= TOLERANCE * unit,
            "{shapes:?}: tensor {number} (0 is the result): error {error:e}, ε is {unit:e}"
        );
    }
}
