//! The operations on GPUs: the same definitions as those of the CPU's kernels, computed by the kernels of
//! [`crate::cuda`] and by NVIDIA's libraries.
//!
//! Results differ from the CPU's in the last bits, but not from one run to the next. With `train.precision = "bf16"`
//! convolutions return bfloat16, and so do the operations after them until a matrix product that returns f32 (linear
//! layers, attention); weights and all sums are f32. cuDNN then returns the gradient of a convolution's weight in
//! bfloat16, which is converted to f32.

mod activation;
mod affine;
mod attention;
mod batch_norm;
mod conv;
mod group_norm;
mod loss;
mod pool;

use candle_core::{CudaStorage, Result, Shape, Storage, Tensor};
use cudarc::driver::CudaSlice;

use crate::cuda::{DType, Number, View, by_dtype, current, kernels, tensor, view};

pub(crate) use activation::sum_of_gradients;
pub(crate) use batch_norm::{batch_norm, batch_norm_inference};
pub use loss::{Losses, cross_entropy};

/// An operation on tensors of this thread's GPU. The default methods refuse: the operation is for the CPU only.
pub(crate) trait OnCuda {
    /// Computes the result; the arguments are contiguous.
    fn forward(&self, arguments: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        candle_core::bail!("no kernel for GPUs, of {} arguments", arguments.len())
    }

    /// One gradient for each argument; `None` where the argument needs none.
    fn backward(
        &self,
        arguments: &[Tensor],
        _result: &Tensor,
        _gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        candle_core::bail!("no kernel for GPUs, of {} arguments", arguments.len())
    }
}

/// Computes the result if the arguments are on a GPU; otherwise returns `None`.
pub(crate) fn forward(operation: &impl OnCuda, arguments: &[&Tensor]) -> Option<Result<(Storage, Shape)>> {
    let on_gpu = arguments.first().is_some_and(|argument| argument.device().is_cuda());
    on_gpu.then(|| operation.forward(arguments).map(|(storage, shape)| (Storage::Cuda(storage), shape)))
}

/// Checks the number of arguments.
fn arguments<T, const N: usize>(given: &[T]) -> Result<&[T; N]> {
    match given.try_into() {
        Ok(arguments) => Ok(arguments),
        Err(_) => candle_core::bail!("{} arguments, expected {N}", given.len()),
    }
}

/// A tensor as an operand of matrix products: contiguous and of the given element type.
fn operand(x: &Tensor, kind: DType) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (gpu, len) = (current()?, x.elem_count());
    match (DType::of(&x)?, kind) {
        (DType::F32, DType::Bf16) => Ok(tensor(kernels::to_bf16(&gpu, view(&x)?, len)?, x.shape(), &gpu)),
        (DType::Bf16, DType::F32) => Ok(tensor(kernels::to_f32(&gpu, view(&x)?, len)?, x.shape(), &gpu)),
        _ => Ok(x),
    }
}

/// The gradient in the element type of its argument.
fn gradient_like(gradient: &Tensor, argument: &Tensor) -> Result<Tensor> {
    operand(gradient, DType::of(argument)?)
}

/// The elements of a tensor, which must be as many as another's.
fn as_long_as<'a, T: Number>(tensor: &'a Tensor, other: &View<'_, T>) -> Result<View<'a, T>> {
    let elements = view::<T>(tensor)?;
    if elements.len() != other.len() {
        candle_core::bail!("{} elements, expected {}", elements.len(), other.len());
    }
    Ok(elements)
}

/// The number of rows of `[rows, columns]` with `len` elements.
fn rows_of(len: usize, columns: usize) -> Result<usize> {
    match len.checked_div(columns) {
        Some(rows) if rows * columns == len => Ok(rows),
        _ => candle_core::bail!("{len} elements in rows of {columns}"),
    }
}

/// Rows of a block. They depend on rows and columns alone, as they determine the order of addition.
#[derive(Clone, Copy)]
struct Chunks {
    rows: usize,
    each: usize,
}

impl Chunks {
    /// For sums: enough blocks for a full GPU, but not so few rows each that most of the addition is left to the second
    /// stage.
    fn to_sum(rows: usize, columns: usize) -> Self {
        const BLOCKS: usize = 1024;
        const FEWEST_ROWS: usize = 64;
        let most = (BLOCKS / columns.div_ceil(kernels::COLUMNS as usize).max(1)).max(1);
        Self { rows, each: rows.div_ceil(most).max(FEWEST_ROWS) }
    }

    /// For elementwise kernels: few rows for each thread, and no more chunks than a grid can have.
    fn to_map(rows: usize) -> Self {
        const MOST: usize = 1 << 15;
        const FEWEST_ROWS: usize = 32;
        Self { rows, each: rows.div_ceil(MOST).max(FEWEST_ROWS) }
    }

    /// Adds partial sums `[chunks, 2, columns]`: the first `len` of 2 · `columns`.
    fn totals(self, partials: &CudaSlice<f64>, columns: usize, len: usize) -> Result<CudaSlice<f32>> {
        let chunks = kernels::chunks(self.rows, self.each)?;
        kernels::column_totals(&*current()?, partials.into(), chunks, columns, len)
    }
}

/// The sums of the columns of `[rows, columns]`, f32.
fn column_sums(x: &Tensor, columns: usize) -> Result<Tensor> {
    let (gpu, rows) = (current()?, rows_of(x.elem_count(), columns)?);
    let chunks = Chunks::to_sum(rows, columns);
    let partials = by_dtype!(DType::of(x)?, N => {
        kernels::column_partials::<N>(&gpu, view(x)?, rows, columns, chunks.each)
    })?;
    Ok(tensor(chunks.totals(&partials, columns, columns)?, columns, &gpu))
}
