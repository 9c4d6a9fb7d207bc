//! The tensor library's operations of one, two and three arguments behind one interface, on whatever device they are
//! computed.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor};

#[cfg(feature = "cuda")]
pub(in crate::ops) use crate::ops::cuda::OnCuda;

/// An operation that GPUs compute too; this build has none for GPUs.
#[cfg(not(feature = "cuda"))]
pub(in crate::ops) trait OnCuda {}

#[cfg(not(feature = "cuda"))]
impl<O> OnCuda for O {}

/// An operation, whatever its number of arguments.
pub(in crate::ops) trait Operation {
    /// What it is called in the table of times.
    fn name(&self) -> &'static str;

    fn forward(&self, arguments: &[&Tensor]) -> Result<(Storage, Shape)>;

    /// One gradient for each argument; none where the argument needs none.
    fn backward(
        &self,
        arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>>;
}

pub(super) struct One<O>(pub(super) O);
pub(super) struct Two<O>(pub(super) O);
pub(super) struct Three<O>(pub(super) O);

fn arity<T>(expected: usize, found: usize) -> Result<T> {
    candle_core::bail!("{found} arguments, expected {expected}")
}

/// Runs a forward pass over tensors in CPU memory.
fn on_cpu<const N: usize>(
    arguments: [&Tensor; N],
    forward: impl FnOnce([(&CpuStorage, &Layout); N]) -> Result<(CpuStorage, Shape)>,
) -> Result<(Storage, Shape)> {
    let guards = arguments.map(Tensor::storage_and_layout);
    let operands = guards.each_ref().map(|(storage, layout)| match &**storage {
        Storage::Cpu(storage) => Some((storage, *layout)),
        _ => None,
    });
    if operands.iter().any(Option::is_none) {
        candle_core::bail!("expected tensors in CPU memory");
    }
    // As many as before: none is missing.
    let operands: Vec<(&CpuStorage, &Layout)> = operands.into_iter().flatten().collect();
    let Ok(operands) = <[_; N]>::try_from(operands) else { return arity(N, 0) };
    let (storage, shape) = forward(operands)?;
    Ok((Storage::Cpu(storage), shape))
}

impl<O: CustomOp1 + OnCuda> Operation for One<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, arguments: &[&Tensor]) -> Result<(Storage, Shape)> {
        #[cfg(feature = "cuda")]
        if let Some(result) = crate::ops::cuda::forward(&self.0, arguments) {
            return result;
        }
        match *arguments {
            [x] => on_cpu([x], |[(x, x_layout)]| self.0.cpu_fwd(x, x_layout)),
            _ => arity(1, arguments.len()),
        }
    }

    fn backward(
        &self,
        arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        #[cfg(feature = "cuda")]
        if gradient.device().is_cuda() {
            return OnCuda::backward(&self.0, arguments, result, gradient);
        }
        match arguments {
            [x] => Ok(vec![self.0.bwd(x, result, gradient)?]),
            _ => arity(1, arguments.len()),
        }
    }
}

impl<O: CustomOp2 + OnCuda> Operation for Two<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, arguments: &[&Tensor]) -> Result<(Storage, Shape)> {
        #[cfg(feature = "cuda")]
        if let Some(result) = crate::ops::cuda::forward(&self.0, arguments) {
            return result;
        }
        match *arguments {
            [x, y] => {
                on_cpu([x, y], |[(x, x_layout), (y, y_layout)]| self.0.cpu_fwd(x, x_layout, y, y_layout))
            }
            _ => arity(2, arguments.len()),
        }
    }

    fn backward(
        &self,
        arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        #[cfg(feature = "cuda")]
        if gradient.device().is_cuda() {
            return OnCuda::backward(&self.0, arguments, result, gradient);
        }
        match arguments {
            [x, y] => self.0.bwd(x, y, result, gradient).map(|(x, y)| vec![x, y]),
            _ => arity(2, arguments.len()),
        }
    }
}

impl<O: CustomOp3 + OnCuda> Operation for Three<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, arguments: &[&Tensor]) -> Result<(Storage, Shape)> {
        #[cfg(feature = "cuda")]
        if let Some(result) = crate::ops::cuda::forward(&self.0, arguments) {
            return result;
        }
        match *arguments {
            [x, y, z] => on_cpu([x, y, z], |[(x, x_layout), (y, y_layout), (z, z_layout)]| {
                self.0.cpu_fwd(x, x_layout, y, y_layout, z, z_layout)
            }),
            _ => arity(3, arguments.len()),
        }
    }

    fn backward(
        &self,
        arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        #[cfg(feature = "cuda")]
        if gradient.device().is_cuda() {
            return OnCuda::backward(&self.0, arguments, result, gradient);
        }
        match arguments {
            [x, y, z] => self.0.bwd(x, y, z, result, gradient).map(|(x, y, z)| vec![x, y, z]),
            _ => arity(3, arguments.len()),
        }
    }
}
