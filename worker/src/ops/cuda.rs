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

use std::rc::Rc;

use candle_core::{CudaStorage, DType, Result, Shape, Storage, Tensor};

use crate::cuda::{Argument, Gpu, Grid, Kind, Numbers, allocate, current, numbers, tensor};

pub(super) use activation::sum_of_gradients;
pub(super) use batch_norm::{batch_norm, batch_norm_inference};
pub(crate) use loss::{DeviceTarget, Losses, cross_entropy};

/// An operation on tensors on the GPU of this thread. One that says nothing of it is for the CPU alone.
pub(in crate::ops) trait OnCuda {
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
pub(super) fn forward(operation: &impl OnCuda, arguments: &[&Tensor]) -> Option<Result<(Storage, Shape)>> {
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

/// A function of the numbers at each place of tensors of one kind and length: `[x, .., result, len, ..]` is what the
/// kernels take.
fn map<const N: usize>(
    kernels: [&'static str; 2],
    operands: [Numbers; N],
    more: &[Argument],
) -> Result<Place> {
    let gpu = current()?;
    let first = operands.first().copied();
    let Some(Numbers { len, kind, .. }) = first else { candle_core::bail!("a function of nothing") };
    for operand in operands {
        operand.expect(kind, len)?;
    }
    let (storage, result) = allocate(&gpu, kind, len)?;
    let mut launched: Vec<Argument> = operands.into_iter().map(Argument::from).collect();
    launched.extend([result.into(), long(len)]);
    launched.extend_from_slice(more);
    gpu.launch(kind.choose(kernels), Grid::over(len), &launched)?;
    Ok(Place { storage, numbers: result })
}

/// A result, with its address.
struct Place {
    storage: CudaStorage,
    numbers: Numbers,
}

impl Place {
    /// Room for numbers.
    fn new(gpu: &Gpu, kind: Kind, len: usize) -> Result<Self> {
        let (storage, numbers) = allocate(gpu, kind, len)?;
        Ok(Self { storage, numbers })
    }

    fn argument(&self) -> Argument {
        self.numbers.into()
    }

    fn tensor(self, shape: impl Into<Shape>) -> Tensor {
        tensor(self.storage, shape)
    }
}

/// The tensor as products of a precision take it: rounded to bfloat16 where they do.
fn operand(x: &Tensor, kind: Kind) -> Result<Tensor> {
    match (Kind::of(x)?, kind) {
        (Kind::F32, Kind::Bf16) => converted("to_bf16", x, Kind::Bf16),
        (Kind::Bf16, Kind::F32) => converted("to_f32", x, Kind::F32),
        _ => x.contiguous(),
    }
}

fn converted(kernel: &'static str, x: &Tensor, kind: Kind) -> Result<Tensor> {
    let (gpu, x) = (current()?, x.contiguous()?);
    let from = numbers(&x)?;
    let result = Place::new(&gpu, kind, from.len)?;
    gpu.launch(kernel, Grid::over(from.len), &[from.into(), result.argument(), long(from.len)])?;
    Ok(result.tensor(x.shape()))
}

/// The gradient in the kind of what it is the gradient of.
fn gradient_like(gradient: Tensor, argument: &Tensor) -> Result<Tensor> {
    operand(&gradient, Kind::of(argument)?)
}

fn long(len: usize) -> Argument {
    Argument::Long(i64::try_from(len).unwrap_or(i64::MAX))
}

/// An extent; more than the kernels can count is refused.
fn int(extent: usize) -> Result<Argument> {
    extent_of(extent).map(Argument::Int)
}

fn extent_of(extent: usize) -> Result<i32> {
    let too_large =
        |_| candle_core::Error::Msg(format!("an extent of {extent} is too large for the kernels"));
    i32::try_from(extent).map_err(too_large)
}

/// Rows that a block takes, and how many such chunks there are: a matter of rows and columns alone.
#[derive(Clone, Copy)]
struct Chunks {
    rows: usize,
    each: usize,
}

/// Columns of a block.
const COLUMNS: usize = 32;

impl Chunks {
    /// To be summed: enough blocks for a full GPU, and not so few rows that the second stage would have the work.
    fn to_sum(rows: usize, columns: usize) -> Self {
        const BLOCKS: usize = 1024;
        const FEWEST_ROWS: usize = 64;
        let most = (BLOCKS / columns.div_ceil(COLUMNS).max(1)).max(1);
        Self { rows, each: rows.div_ceil(most).max(FEWEST_ROWS) }
    }

    /// To be worked on one by one: few rows for each thread, and no more chunks than a grid can have.
    fn to_map(rows: usize) -> Self {
        const MOST: usize = 1 << 15;
        const FEWEST_ROWS: usize = 32;
        Self { rows, each: rows.div_ceil(MOST).max(FEWEST_ROWS) }
    }

    fn count(self) -> usize {
        self.rows.div_ceil(self.each)
    }

    /// The blocks for so many columns.
    fn grid(self, columns: usize) -> Grid {
        Grid::columns(columns, self.count())
    }

    /// Room for two sums of each column and chunk.
    fn partials(self, gpu: &Gpu, columns: usize) -> Result<Partials> {
        let slice = gpu.uninitialized::<f64>(self.count() * 2 * columns)?;
        let pointer = crate::cuda::address(&slice);
        Ok(Partials { _slice: slice, pointer })
    }
}

/// Sums of chunks, `[chunks, 2, columns]` of f64.
struct Partials {
    _slice: cudarc::driver::CudaSlice<f64>,
    pointer: u64,
}

impl Partials {
    fn argument(&self) -> Argument {
        Argument::Pointer(self.pointer)
    }

    /// The first `len` of their 2 · `columns` totals, f32.
    fn totals(&self, gpu: &Rc<Gpu>, chunks: Chunks, columns: usize, len: usize) -> Result<Place> {
        let totals = Place::new(gpu, Kind::F32, len)?;
        let launched = [self.argument(), totals.argument(), int(chunks.count())?, int(columns)?, long(len)];
        gpu.launch("column_totals", Grid::columns(len, 1), &launched)?;
        Ok(totals)
    }
}

/// The sums of the columns of `[rows, columns]`, f32.
fn column_sums(x: Numbers, columns: usize) -> Result<Place> {
    let gpu = current()?;
    let rows = x.len / columns.max(1);
    let chunks = Chunks::to_sum(rows, columns);
    let partials = chunks.partials(&gpu, columns)?;
    let launched = [x.into(), partials.argument(), long(rows), int(columns)?, int(chunks.each)?];
    let kernel = x.kind.choose(["column_partials_f32", "column_partials_bf16"]);
    gpu.launch(kernel, chunks.grid(columns), &launched)?;
    partials.totals(&gpu, chunks, columns, columns)
}

/// An f32 tensor's numbers.
fn singles(x: &Tensor) -> Result<Numbers> {
    if x.dtype() != DType::F32 {
        candle_core::bail!("numbers of type {:?}, expected F32", x.dtype());
    }
    numbers(x)
}
