//! Operations of any number of arguments on any device, and adapters that make those with one, two or three arguments
//! the tensor library's custom operations.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor};

#[cfg(feature = "cuda")]
pub(crate) use crate::cuda::ops::OnCuda;
use crate::storage::{contiguous, with_elements};

/// Operations that GPUs compute too. In builds without `cuda` it asks for nothing.
#[cfg(not(feature = "cuda"))]
pub(crate) trait OnCuda {}

#[cfg(not(feature = "cuda"))]
impl<O> OnCuda for O {}

/// An operation of `N` arguments, as the CPU computes it. All values are f32 and row-major.
pub(crate) trait Kernel<const N: usize>: OnCuda + Send + Sync + 'static {
    /// Name in the table of times.
    fn name(&self) -> &'static str;

    /// The result's values and shape from those of the arguments.
    fn compute(&self, elements: [&[f32]; N], shapes: [&Shape; N]) -> Result<(Vec<f32>, Shape)>;

    /// One gradient for each argument from the result's, which is contiguous; `None` where the argument needs none.
    fn gradients(
        &self,
        arguments: [&Tensor; N],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; N]>;
}

/// An operation, whatever its number of arguments.
pub(crate) trait Operation {
    /// Name in the table of times.
    fn name(&self) -> &'static str;

    fn forward(&self, arguments: &[&Tensor]) -> Result<(Storage, Shape)>;

    /// One gradient for each argument; `None` where the argument needs none.
    fn backward(
        &self,
        arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>>;
}

/// An operation of `N` arguments, on the device of its arguments.
pub(super) struct Of<const N: usize, K>(pub(super) K);

/// Checks the number of arguments.
fn exactly<T, const N: usize>(arguments: &[T]) -> Result<&[T; N]> {
    match arguments.try_into() {
        Ok(arguments) => Ok(arguments),
        Err(_) => candle_core::bail!("{} arguments, expected {N}", arguments.len()),
    }
}

impl<const N: usize, K: Kernel<N>> Operation for Of<N, K> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, arguments: &[&Tensor]) -> Result<(Storage, Shape)> {
        #[cfg(feature = "cuda")]
        if let Some(result) = crate::cuda::ops::forward(&self.0, arguments) {
            return result;
        }
        let arguments: [&Tensor; N] = *exactly(arguments)?;
        let shapes = arguments.map(Tensor::shape);
        let (result, shape) = with_elements(arguments, |elements| self.0.compute(elements, shapes))??;
        Ok((Storage::Cpu(CpuStorage::F32(result)), shape))
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
        let arguments: &[Tensor; N] = exactly(arguments)?;
        let gradients = self.0.gradients(arguments.each_ref(), result, &gradient.contiguous()?)?;
        Ok(gradients.into())
    }
}

/// An operation in CPU memory, adapted to the tensor library's traits for one, two and three arguments.
pub(super) struct InLibrary<K>(pub(super) K);

impl<K> InLibrary<K> {
    fn forward<const N: usize>(&self, arguments: [(&CpuStorage, &Layout); N]) -> Result<(CpuStorage, Shape)>
    where
        K: Kernel<N>,
    {
        let mut elements = [&[][..]; N];
        for (elements, (storage, layout)) in elements.iter_mut().zip(arguments) {
            *elements = contiguous(storage, layout)?;
        }
        let (result, shape) = self.0.compute(elements, arguments.map(|(_, layout)| layout.shape()))?;
        Ok((CpuStorage::F32(result), shape))
    }
}

impl<K: Kernel<1>> CustomOp1 for InLibrary<K> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, x: &CpuStorage, of_x: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward([(x, of_x)])
    }

    fn bwd(&self, x: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let [x] = self.0.gradients([x], result, &gradient.contiguous()?)?;
        Ok(x)
    }
}

impl<K: Kernel<2>> CustomOp2 for InLibrary<K> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        of_x: &Layout,
        y: &CpuStorage,
        of_y: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward([(x, of_x), (y, of_y)])
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.0.gradients([x, y], result, &gradient.contiguous()?).map(Into::into)
    }
}

impl<K: Kernel<3>> CustomOp3 for InLibrary<K> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        of_x: &Layout,
        y: &CpuStorage,
        of_y: &Layout,
        z: &CpuStorage,
        of_z: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward([(x, of_x), (y, of_y), (z, of_z)])
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        z: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        self.0.gradients([x, y, z], result, &gradient.contiguous()?).map(Into::into)
    }
}
