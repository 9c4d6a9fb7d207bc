//! Backpropagation over a recorded forward pass. The tensor library could do it alone, as our operations are custom
//! operations of it; but it first adds every gradient to zeros, on one thread, and keeps all activations to the end. A
//! tape moves gradients, and drops an operation's activations as soon as their gradients are known.
//!
//! While a tape records, the results of our operations look like variables to the tensor library. Where a model uses
//! the library's operations between ours, or instead of them, the library propagates through them, from one of our
//! operations to the next. It repeats that for each of our operations that takes such a tensor: long chains should
//! consist of our operations, above all sums of residual branches ([`sum`](super::sum())).

mod operation;
mod times;

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, TensorId};

use operation::{InLibrary, Of};
pub(super) use operation::{Kernel, Operation};
use times::Times;

use super::interruption;
use super::sum::sum_of_gradients;

thread_local! {
    /// What records the operations that are applied on this thread.
    static RECORDING: RefCell<Recording> = const { RefCell::new(Recording::Library) };
}

/// What remembers operations for their gradients.
enum Recording {
    Library,
    Tape(Vec<Applied>),
    /// Nothing: no gradient is wanted.
    Off,
}

struct Applied {
    operation: Box<dyn Operation>,
    arguments: Vec<Tensor>,
    result: Tensor,
    /// Duration of its forward pass.
    forward: Duration,
}

/// The operations of a forward pass in their order, with their activations.
pub struct Tape {
    applied: Vec<Applied>,
    /// Duration of the whole forward pass.
    forward: Duration,
}

/// Gradients of variables; those that the output does not depend on have none.
#[derive(Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

/// Runs a forward pass on this thread and records it; other threads are not affected.
pub fn record<T>(forward: impl FnOnce() -> T) -> (T, Tape) {
    let begun = Instant::now();
    let (result, recording) = during(Recording::Tape(Vec::new()), forward);
    let Recording::Tape(applied) = recording else {
        unreachable!("what was declared within the pass was taken back before its end")
    };
    (result, Tape { applied, forward: begun.elapsed() })
}

/// Runs a forward pass on this thread without recording it: activations are dropped as soon as possible.
pub fn without_gradients<T>(forward: impl FnOnce() -> T) -> T {
    during(Recording::Off, forward).0
}

/// Runs a forward pass under some recording and returns what was recorded. The recording before it continues
/// afterwards, also when the pass panics.
fn during<T>(recording: Recording, pass: impl FnOnce() -> T) -> (T, Recording) {
    let before = RECORDING.replace(recording);
    // A panic is resumed below, once the thread's recording has been restored.
    let result = catch_unwind(AssertUnwindSafe(pass));
    let recorded = RECORDING.replace(before);
    match result {
        Ok(result) => (result, recorded),
        Err(panic) => resume_unwind(panic),
    }
}

impl Tape {
    /// The gradients of all variables, given the gradient of the forward pass's output.
    ///
    /// # Errors
    /// When an operation's gradient cannot be computed, or the pass is interrupted.
    pub fn backward(self, output: Tensor, gradient: Tensor) -> Result<Gradients> {
        let (mut gradients, mut times) = (Gradients::default(), Times::begin(self.forward));
        gradients.flow(&output, gradient)?;
        drop(output);
        for applied in self.applied.into_iter().rev() {
            let Applied { operation, arguments, result, .. } = &applied;
            // An operation that the output does not depend on has no gradient.
            let Some(gradient) = gradients.0.remove(&result.id()) else { continue };
            let begun = Instant::now();
            let of_arguments = operation.backward(arguments, result, &gradient)?;
            times.took(&applied, begun.elapsed());
            interruption::check()?;
            for (argument, gradient) in arguments.iter().zip(of_arguments) {
                if let Some(gradient) = gradient {
                    gradients.flow(argument, gradient)?;
                }
            }
        }
        times.end();
        Ok(gradients)
    }
}

impl Gradients {
    /// The gradient of a variable; `None` if the output does not depend on it.
    pub fn get(&self, variable: &Tensor) -> Option<&Tensor> {
        self.0.get(&variable.id())
    }

    /// Adds to a tensor's gradient.
    fn flow(&mut self, tensor: &Tensor, gradient: Tensor) -> Result<()> {
        if gradient.shape() != tensor.shape() {
            let (found, expected) = (gradient.dims(), tensor.dims());
            candle_core::bail!("gradient of shape {found:?} for a tensor of shape {expected:?}");
        }
        if tensor.is_variable() {
            let sum = match self.0.remove(&tensor.id()) {
                Some(before) => sum_of_gradients(&before, &gradient)?,
                None => gradient,
            };
            self.0.insert(tensor.id(), sum);
        } else if tensor.track_op() {
            let mut in_library = with_gradient(tensor, gradient)?.backward()?;
            for leaf in tensor.sorted_nodes().into_iter().filter(|node| node.is_variable()) {
                if let Some(gradient) = in_library.remove(leaf) {
                    self.flow(leaf, gradient)?;
                }
            }
        }
        Ok(())
    }
}

/// A scalar whose gradient with respect to `tensor` is `gradient`, of the same shape: the library's backward pass
/// starts there.
fn with_gradient(tensor: &Tensor, gradient: Tensor) -> Result<Tensor> {
    if gradient.shape() != tensor.shape() {
        candle_core::bail!(
            "gradient of shape {:?} for a tensor of shape {:?}",
            gradient.dims(),
            tensor.dims()
        );
    }
    tensor.apply_op1(Preset(gradient))
}

struct Preset(Tensor);

impl CustomOp1 for Preset {
    fn name(&self) -> &'static str {
        "preset-gradient"
    }

    fn cpu_fwd(&self, _tensor: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _tensor: &CudaStorage, _layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = crate::cuda::current()?;
        Ok((crate::cuda::storage(gpu.zeros::<f32>(1)?, &gpu), Shape::from(())))
    }

    fn bwd(&self, _tensor: &Tensor, _result: &Tensor, _gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

/// Applies an operation of one argument.
pub(super) fn apply1(x: &Tensor, kernel: impl Kernel<1>) -> Result<Tensor> {
    if is_library(x) { x.apply_op1(InLibrary(kernel)) } else { apply(&[x], Of::<1, _>(kernel)) }
}

/// Applies an operation of two arguments.
pub(super) fn apply2(x: &Tensor, y: &Tensor, kernel: impl Kernel<2>) -> Result<Tensor> {
    if is_library(x) { x.apply_op2(y, InLibrary(kernel)) } else { apply(&[x, y], Of::<2, _>(kernel)) }
}

/// Applies an operation of three arguments.
pub(super) fn apply3(x: &Tensor, y: &Tensor, z: &Tensor, kernel: impl Kernel<3>) -> Result<Tensor> {
    if is_library(x) { x.apply_op3(y, z, InLibrary(kernel)) } else { apply(&[x, y, z], Of::<3, _>(kernel)) }
}

/// Whether the tensor library records operations on this thread. On GPUs it never does.
fn is_library(x: &Tensor) -> bool {
    x.device().is_cpu() && RECORDING.with_borrow(|recording| matches!(recording, Recording::Library))
}

/// Applies an operation, and records it if a tape records and one of its arguments may need a gradient.
pub(super) fn apply(arguments: &[&Tensor], operation: impl Operation + 'static) -> Result<Tensor> {
    let begun = Instant::now();
    let (storage, shape) = operation.forward(arguments)?;
    interruption::check()?;
    RECORDING.with_borrow_mut(|recording| {
        let tape = match recording {
            Recording::Tape(tape) if arguments.iter().any(|argument| argument.track_op()) => Some(tape),
            _ => None,
        };
        let result = Tensor::from_storage(storage, shape, BackpropOp::none(), tape.is_some());
        if let Some(tape) = tape {
            let arguments = arguments.iter().map(|&argument| argument.clone()).collect();
            let (operation, forward) = (Box::new(operation), begun.elapsed());
            tape.push(Applied { operation, arguments, result: result.clone(), forward });
        }
        Ok(result)
    })
}

#[cfg(test)]
mod tests;
