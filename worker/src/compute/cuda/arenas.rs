//! Between a model's tensors on a GPU and flat arenas: parameters first, then statistics.

use candle_core::{DType, Result, Tensor};
use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};
use lookbehind_common::layout::{Layout, TensorEntry, TensorKind};

use super::sum::Sum;
use crate::cuda::{Argument, Gpu, Grid, Staging, address, numbers};
use crate::parameters::ModelState;

/// Numbers that a block copies.
const PIECE: usize = 4096;

/// `Piece` of `kernels/arena.cu`: some numbers of a tensor.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Piece {
    tensor: u32,
    len: u32,
    in_tensor: i64,
    in_arena: i64,
}

#[allow(unsafe_code, reason = "the kernel takes the same fields in the same order")]
// SAFETY: plain numbers, laid out as the kernel's structure is.
unsafe impl DeviceRepr for Piece {}

#[allow(unsafe_code, reason = "all its fields may be zero")]
// SAFETY: zeros are a valid piece.
unsafe impl ValidAsZeroBits for Piece {}

/// The arenas of a model on a GPU.
pub(super) struct Arenas {
    parameters: Table,
    statistics: Table,
    /// Where the weights of an evaluation arrive.
    weights: CudaSlice<f32>,
    len: usize,
}

impl Arenas {
    /// Those of a model whose variables are on the GPU.
    pub(super) fn new(state: &ModelState, gpu: &Gpu) -> Result<Self> {
        let layout = state.layout();
        let len = layout.parameters() + layout.statistics();
        Ok(Self {
            parameters: Table::new(layout, TensorKind::Parameter, 0, gpu)?,
            statistics: Table::new(layout, TensorKind::Statistic, layout.parameters(), gpu)?,
            weights: gpu.uninitialized(len)?,
            len,
        })
    }

    /// Where weights are copied to.
    pub(super) fn weights(&self) -> u64 {
        address(&self.weights)
    }

    /// Overwrites the model's variables with the weights that have arrived.
    pub(super) fn scatter(&mut self, state: &ModelState, gpu: &Gpu) -> Result<()> {
        let weights = Argument::Pointer(address(&self.weights));
        for (table, kind) in
            [(&mut self.parameters, TensorKind::Parameter), (&mut self.statistics, TensorKind::Statistic)]
        {
            let variables = state.variables().filter(|(entry, _)| entry.spec.kind == kind);
            let variables: Vec<_> =
                variables.map(|(_, variable)| Some(variable.as_tensor().clone())).collect();
            table.launch("scatter", &variables, &[weights], gpu)?;
        }
        Ok(())
    }

    /// Puts gradients and statistics, each in the layout's order, into an arena; the statistics times the shard's `share`
    /// of the batch.
    pub(super) fn gather(
        &mut self,
        gradients: &[Option<Tensor>],
        statistics: &[Option<Tensor>],
        share: f32,
        gpu: &Gpu,
    ) -> Result<Sum> {
        let sum = gpu.uninitialized::<f32>(self.len)?;
        let arena = Argument::Pointer(address(&sum));
        self.parameters.launch("gather", gradients, &[arena, Argument::Float(1.0)], gpu)?;
        self.statistics.launch("gather", statistics, &[arena, Argument::Float(share)], gpu)?;
        Ok(Sum(sum))
    }
}

/// How the tensors of one kind lie in an arena.
struct Table {
    pieces: CudaSlice<Piece>,
    blocks: usize,
    lens: Vec<usize>,
    addresses: Staging<u64>,
}

impl Table {
    fn new(layout: &Layout, kind: TensorKind, first: usize, gpu: &Gpu) -> Result<Self> {
        let entries = layout.entries().iter().filter(|entry| entry.spec.kind == kind);
        let entries: Vec<&TensorEntry> = entries.collect();
        let pieces: Vec<Piece> =
            (0..).zip(&entries).flat_map(|(tensor, entry)| pieces(tensor, entry, first)).collect();
        let lens = entries.iter().map(|entry| entry.range.len()).collect();
        Ok(Self {
            blocks: pieces.len(),
            pieces: Staging::new().upload(&pieces, gpu)?,
            lens,
            addresses: Staging::new(),
        })
    }

    /// Launches a kernel over the tensors of the table, in their order.
    fn launch(
        &mut self,
        kernel: &'static str,
        tensors: &[Option<Tensor>],
        more: &[Argument],
        gpu: &Gpu,
    ) -> Result<()> {
        if tensors.len() != self.lens.len() {
            candle_core::bail!("{} tensors, expected {}", tensors.len(), self.lens.len());
        }
        let tensors = tensors.iter().map(|tensor| tensor.as_ref().map(Tensor::contiguous).transpose());
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let address_of = |(tensor, &len): (&Option<Tensor>, &usize)| match tensor {
            Some(tensor) if tensor.elem_count() == len && tensor.dtype() == DType::F32 => {
                Ok(numbers(tensor)?.pointer)
            }
            Some(tensor) => {
                let (found, dtype) = (tensor.elem_count(), tensor.dtype());
                candle_core::bail!("{found} numbers of type {dtype:?}, expected {len} of F32")
            }
            None => Ok(0),
        };
        let addresses = tensors.iter().zip(&self.lens).map(address_of).collect::<Result<Vec<u64>>>()?;
        let addresses = self.addresses.upload(&addresses, gpu)?;
        let mut launched =
            vec![Argument::Pointer(address(&self.pieces)), Argument::Pointer(address(&addresses))];
        launched.extend_from_slice(more);
        gpu.launch(kernel, Grid::rows(self.blocks, PIECE), &launched)
    }
}

/// The pieces of a tensor, whose arena begins at `first`.
fn pieces(tensor: u32, entry: &TensorEntry, first: usize) -> Vec<Piece> {
    let long = |place: usize| i64::try_from(place).unwrap_or(i64::MAX);
    let len = entry.range.len();
    let piece = |start: usize| Piece {
        tensor,
        len: u32::try_from(PIECE.min(len - start)).unwrap_or(u32::MAX),
        in_tensor: long(start),
        in_arena: long(first + entry.range.start + start),
    };
    (0..len).step_by(PIECE).map(piece).collect()
}
