//! Between a model's tensors on a GPU and flat arenas: parameters first, then statistics.

use candle_core::{Result, Tensor};
use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};
use lookbehind_common::layout::{Layout, TensorEntry, TensorKind};

use super::sum::Sum;
use crate::cuda::{Argument, Gpu, Grid, Kind, Staging, address, numbers};
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
    /// Where the model's parameters and statistics lie, which never move.
    variables: [CudaSlice<u64>; 2],
    /// Where the weights of an evaluation arrive.
    weights: CudaSlice<f32>,
    len: usize,
}

impl Arenas {
    /// Those of a model whose variables are on the GPU.
    pub(super) fn new(state: &ModelState, gpu: &Gpu) -> Result<Self> {
        let layout = state.layout();
        let len = layout.parameters() + layout.statistics();
        let mut parameters = Table::new(layout, TensorKind::Parameter, 0, gpu)?;
        let mut statistics = Table::new(layout, TensorKind::Statistic, layout.parameters(), gpu)?;
        let variables = |table: &mut Table, kind: TensorKind| {
            let variables = state.variables().filter(|(entry, _)| entry.spec.kind == kind);
            let variables = variables.map(|(_, variable)| Some(variable.as_tensor().clone()));
            table.addresses(&variables.collect::<Vec<_>>(), gpu)
        };
        let variables = [
            variables(&mut parameters, TensorKind::Parameter)?,
            variables(&mut statistics, TensorKind::Statistic)?,
        ];
        Ok(Self { parameters, statistics, variables, weights: gpu.uninitialized(len)?, len })
    }

    /// Where weights are copied to.
    pub(super) fn weights(&self) -> u64 {
        address(&self.weights)
    }

    /// Overwrites the model's variables with the weights that have arrived.
    pub(super) fn scatter(&self, gpu: &Gpu) -> Result<()> {
        let weights = [Argument::Pointer(address(&self.weights))];
        let [parameters, statistics] = &self.variables;
        self.parameters.launch("scatter", parameters, &weights, gpu)?;
        self.statistics.launch("scatter", statistics, &weights, gpu)
    }

    /// Puts gradients and statistics, each in the layout's order, into an arena; the statistics times the shard's `share`
    /// of the batch.
    pub(super) fn gather(
        &mut self,
        gradients: Vec<Option<Tensor>>,
        statistics: Vec<Option<Tensor>>,
        share: f32,
        gpu: &Gpu,
    ) -> Result<Sum> {
        let sum = gpu.uninitialized::<f32>(self.len)?;
        let arena = Argument::Pointer(address(&sum));
        for (table, tensors, factor) in
            [(&mut self.parameters, gradients, 1.0), (&mut self.statistics, statistics, share)]
        {
            let addresses = table.addresses(&tensors, gpu)?;
            table.launch("gather", &addresses, &[arena, Argument::Float(factor)], gpu)?;
        }
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

    /// Where the tensors of the table lie, in their order, on the device; contiguous ones, which the caller holds.
    fn addresses(&mut self, tensors: &[Option<Tensor>], gpu: &Gpu) -> Result<CudaSlice<u64>> {
        if tensors.len() != self.lens.len() {
            candle_core::bail!("{} tensors, expected {}", tensors.len(), self.lens.len());
        }
        let address_of = |(tensor, &len): (&Option<Tensor>, &usize)| match tensor {
            Some(tensor) => Ok(numbers(tensor)?.expect(Kind::F32, len)?.pointer),
            None => Ok(0),
        };
        let addresses = tensors.iter().zip(&self.lens).map(address_of).collect::<Result<Vec<u64>>>()?;
        self.addresses.upload(&addresses, gpu)
    }

    /// Launches a kernel over the tensors of the table.
    fn launch(
        &self,
        kernel: &'static str,
        addresses: &CudaSlice<u64>,
        more: &[Argument],
        gpu: &Gpu,
    ) -> Result<()> {
        let mut launched =
            vec![Argument::Pointer(address(&self.pieces)), Argument::Pointer(address(addresses))];
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
