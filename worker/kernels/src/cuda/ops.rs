//! The operations on GPUs: the same definitions as the kernels for the CPU have, by the kernels of [`crate::cuda`] and
//! NVIDIA's libraries.
//!
//! Results differ from the CPU's in the last bits, and do not differ from one run to the next. With `train.precision =
//! "bf16"` convolutions give bfloat16, and so do the operations after them until the next product that gives f32 (linear
//! layers, attention); weights and all sums are f32. cuDNN gives the gradient of a convolution's weight in bfloat16 then, which
//! goes on as f32.

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

/// An operation on tensors on the GPU of this thread. One that says nothing of it is for the CPU alone.
pub(crate) trait OnCuda {
    /// The result of contiguous arguments.
    fn forward(&self, arguments: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        candle_core::bail!("no kernel for GPUs, of {} arguments", arguments.len())
    }

    /// One gradient for each argument; none where the argument needs none.
    fn backward(
        &self,
        arguments: &[Tensor],
        _result: &Tensor,
        _gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        candle_core::bail!("no kernel for GPUs, of {} arguments", arguments.len())
    }
}

/// Runs a forward pass where its arguments are on a GPU.
pub(crate) fn forward(operation: &impl OnCuda, arguments: &[&Tensor]) -> Option<Result<(Storage, Shape)>> {
    let on_gpu = arguments.first().is_some_and(|argument| argument.device().is_cuda());
    on_gpu.then(|| operation.forward(arguments).map(|(storage, shape)| (Storage::Cuda(storage), shape)))
}

/// So many arguments.
fn arguments<T, const N: usize>(given: &[T]) -> Result<&[T; N]> {
    match given.try_into() {
        Ok(arguments) => Ok(arguments),
        Err(_) => candle_core::bail!("{} arguments, expected {N}", given.len()),
    }
}

/// The tensor as products of a precision take it: rounded to bfloat16 where they do.
fn operand(x: &Tensor, kind: DType) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (gpu, len) = (current()?, x.elem_count());
    match (DType::of(&x)?, kind) {
        (DType::F32, DType::Bf16) => Ok(tensor(kernels::to_bf16(&gpu, view(&x)?, len)?, x.shape(), &gpu)),
        (DType::Bf16, DType::F32) => Ok(tensor(kernels::to_f32(&gpu, view(&x)?, len)?, x.shape(), &gpu)),
        _ => Ok(x),
    }
}

/// The gradient in the kind of what it is the gradient of.
fn gradient_like(gradient: &Tensor, argument: &Tensor) -> Result<Tensor> {
    operand(gradient, DType::of(argument)?)
}

/// The elements of a tensor that has to have as many as another.
fn as_long_as<'a, T: Number>(tensor: &'a Tensor, other: &View<'_, T>) -> Result<View<'a, T>> {
    let elements = view::<T>(tensor)?;
    if elements.len() != other.len() {
        candle_core::bail!("{} elements, expected {}", elements.len(), other.len());
    }
    Ok(elements)
}

/// The rows of `[rows, columns]` with so many elements.
fn rows_of(len: usize, columns: usize) -> Result<usize> {
    match len.checked_div(columns) {
        Some(rows) if rows * columns == len => Ok(rows),
        _ => candle_core::bail!("{len} elements in rows of {columns}"),
    }
}

/// Rows that a block takes: a matter of rows and columns alone.
#[derive(Clone, Copy)]
struct Chunks {
    rows: usize,
    each: usize,
}

impl Chunks {
    /// To be summed: enough blocks for a full GPU, and not so few rows that the second stage would have the work.
    fn to_sum(rows: usize, columns: usize) -> Self {
        const BLOCKS: usize = 1024;
        const FEWEST_ROWS: usize = 64;
        let most = (BLOCKS / columns.div_ceil(kernels::COLUMNS as usize).max(1)).max(1);
        Self { rows, each: rows.div_ceil(most).max(FEWEST_ROWS) }
    }

    /// To be worked on one by one: few rows for each thread, and no more chunks than a grid can have.
    fn to_map(rows: usize) -> Self {
        const MOST: usize = 1 << 15;
        const FEWEST_ROWS: usize = 32;
        Self { rows, each: rows.div_ceil(MOST).max(FEWEST_ROWS) }
    }

    /// The totals of partial sums `[chunks, 2, columns]`: the first `len` of 2 · `columns`.
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
