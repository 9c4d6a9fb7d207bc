//! Compares every kernel with its definition in float64, and every kind of model with its result on the CPU, on the
//! device that jobs would run on. This is the first thing to run on a new machine.

mod cases;
mod models;

use std::rc::Rc;

use candle_core::{CudaDevice, DType, Device, Result, Shape, Tensor, Var};
use lookbehind_common::job::Precision;
use lookbehind_common::random::{Key, Purpose};

use cases::Case;
use lookbehind_kernels::cuda::{self, Gpu};
use lookbehind_kernels::{record, with_precision};

#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Check {
    /// Operation, shapes, precision, and whether it is the result or a gradient that was compared.
    pub(crate) name: String,
    /// Largest difference from float64, relative to the largest absolute value.
    pub(crate) error: f64,
    /// Largest error that rounding may cause.
    pub(crate) limit: f64,
    pub(crate) passed: bool,
}

/// Runs all comparisons on a GPU, on a thread of its own that owns the device meanwhile.
///
/// # Errors
/// If the device cannot be used, or cannot compute a kernel at all.
pub(crate) fn run(ordinal: usize) -> Result<Vec<Check>> {
    #[allow(unsafe_code, reason = "a device of which the driver's bindings record no events")]
    // SAFETY: the comparisons use no stream but the device's own.
    let device = unsafe { cuda::open(ordinal) }?;
    let checked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                cuda::enter(Rc::new(Gpu::new(device.clone())?));
                cases::all().iter().map(|case| on_device(case, &device)).collect::<Result<Vec<_>>>()
            })
            .join()
    });
    let checked = checked.map_err(|_| candle_core::Error::Msg("a kernel's check panicked".to_owned()))?;
    let mut checks: Vec<Check> = checked?.into_iter().flatten().collect();
    checks.extend(models::all(ordinal)?);
    Ok(checks)
}

/// Runs a case in each precision that affects it.
fn on_device(case: &Case, device: &CudaDevice) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for precision in case.precisions() {
        let arguments = arguments(case, *precision)?;
        let found = computed(case, *precision, &arguments, device)?;
        let expected = exact(case, &arguments)?;
        let whats = std::iter::once("result".to_owned())
            .chain((1..).map(|number| format!("gradient of argument {number}")));
        for ((what, found), expected) in whats.zip(found).zip(expected) {
            let (error, limit) = (difference(&found, &expected), case.limit(*precision));
            let name = format!("{} {precision:?}, {what}", case.name);
            checks.push(Check { name, error, limit, passed: error <= limit });
        }
    }
    Ok(checks)
}

/// Keyed values in [−1, 1), in the dtype that the case computes with.
fn arguments(case: &Case, precision: Precision) -> Result<Vec<Tensor>> {
    let argument = |(number, shape): (u64, &Vec<usize>)| {
        let tensor = keyed(number, &Shape::from(shape.as_slice()))?;
        let kept = precision == Precision::Bf16 && case.keeps_bf16(number as usize);
        if kept { tensor.to_dtype(DType::BF16) } else { Ok(tensor) }
    };
    (0..).zip(&case.shapes).map(argument).collect()
}

/// Key of the gradient that is propagated back from a result.
const SEEDLING: u64 = 99;

/// Keyed values in [−1, 1).
fn keyed(number: u64, shape: &Shape) -> Result<Tensor> {
    let mut stream = Key::new(number, Purpose::Probe).stream();
    let elements: Vec<f32> = (0..shape.elem_count()).map(|_| stream.uniform_between(-1.0, 1.0)).collect();
    Tensor::from_vec(elements, shape, &Device::Cpu)
}

/// The result, followed by the gradients of all arguments, as the device computes them.
fn computed(
    case: &Case,
    precision: Precision,
    arguments: &[Tensor],
    device: &CudaDevice,
) -> Result<Vec<Vec<f64>>> {
    let device = Device::Cuda(device.clone());
    let variable = |argument: &Tensor| Var::from_tensor(&argument.to_device(&device)?);
    let variables = arguments.iter().map(variable).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let (result, tape) = record(|| with_precision(precision, || (case.kernel)(&tensors)));
    let result = result?;
    let result_elements = elements(&result)?;
    let gradient = keyed(SEEDLING, result.shape())?.to_dtype(result.dtype())?.to_device(&device)?;
    let gradients = tape.backward(result, gradient)?;
    together(result_elements, &variables, |variable| gradients.get(variable))
}

/// The same as [`computed`], in float64 and by the kernel's definition.
fn exact(case: &Case, arguments: &[Tensor]) -> Result<Vec<Vec<f64>>> {
    let variables = arguments.iter().map(|argument| Var::from_tensor(&argument.to_dtype(DType::F64)?));
    let variables = variables.collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let result = (case.definition)(&tensors)?;
    let loss = (&result * keyed(SEEDLING, result.shape())?.to_dtype(DType::F64)?)?.sum_all()?;
    let gradients = loss.backward()?;
    together(elements(&result)?, &variables, |variable| gradients.get(variable))
}

/// The values of the result, then those of each variable's gradient; zeros where a variable has no gradient.
fn together<'a>(
    result: Vec<f64>,
    variables: &[Var],
    gradient: impl Fn(&Var) -> Option<&'a Tensor>,
) -> Result<Vec<Vec<f64>>> {
    let zeros = |variable: &Var| Ok(vec![0.0; variable.elem_count()]);
    let of = |variable| gradient(variable).map_or_else(|| zeros(variable), elements);
    std::iter::once(Ok(result)).chain(variables.iter().map(of)).collect()
}

fn elements(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// The largest difference, relative to the largest expected value; NaN if any value is NaN.
fn difference(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() || found.iter().any(|element| element.is_nan()) {
        return f64::NAN;
    }
    let scale = expected.iter().fold(f64::MIN_POSITIVE, |scale, number| scale.max(number.abs()));
    found.iter().zip(expected).fold(0_f64, |most, (found, expected)| most.max((found - expected).abs()))
        / scale
}
