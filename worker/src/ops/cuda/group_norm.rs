//! Group and layer normalisation.

use candle_core::{CudaStorage, Result, Shape, Tensor};

use super::{Argument, Chunks, Grid, Kind, OnCuda, Place, arguments, current, int, long, singles};
use crate::cuda::{Numbers, numbers};
use crate::ops::norm::{GroupNorm, Sets};

/// Where factors and summands lie in `[2, channels]`.
fn affine(stacked: &Tensor) -> Result<[Argument; 2]> {
    let stacked = singles(stacked)?;
    let half = (stacked.len / 2 * Kind::F32.size()) as u64;
    Ok([Argument::Pointer(stacked.pointer), Argument::Pointer(stacked.pointer + half)])
}

/// Mean and 1 / √(variance + eps) of each set, and the result.
fn normalized(operation: &GroupNorm, x: Numbers, stacked: &Tensor) -> Result<[Place; 3]> {
    let Sets { pixels, channels, groups } = operation.sets;
    let gpu = current()?;
    let sets = x.len / operation.sets.sample().max(1) * groups;
    let y = Place::new(&gpu, x.kind, x.len)?;
    let [mean, inverse] = [Place::new(&gpu, Kind::F32, sets)?, Place::new(&gpu, Kind::F32, sets)?];
    let [weight, bias] = affine(stacked)?;
    let launched = [
        x.into(),
        weight,
        bias,
        y.argument(),
        mean.argument(),
        inverse.argument(),
        int(pixels)?,
        int(channels)?,
        int(groups)?,
        Argument::Double(operation.eps),
    ];
    let kernel = x.kind.choose(["group_norm_f32", "group_norm_bf16"]);
    gpu.launch(kernel, Grid::rows(sets, pixels * channels / groups), &launched)?;
    Ok([y, mean, inverse])
}

impl OnCuda for GroupNorm {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x, stacked] = arguments(given)?;
        let [y, ..] = normalized(self, numbers(x)?, stacked)?;
        Ok((y.storage, x.shape().clone()))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, stacked] = arguments(given)?;
        let Sets { pixels, channels, groups } = self.sets;
        let (gpu, gradient) = (current()?, gradient.contiguous()?);
        let (from, of_result) = (numbers(x)?, numbers(&gradient)?);
        of_result.expect(from.kind, from.len)?;
        // As on the CPU, moments are computed again rather than kept.
        let [_, mean, inverse] = normalized(self, from, stacked)?;
        let of_x = Place::new(&gpu, from.kind, from.len)?;
        let [weight, _] = affine(stacked)?;
        let launched = [
            from.into(),
            of_result.into(),
            weight,
            mean.argument(),
            inverse.argument(),
            of_x.argument(),
            int(pixels)?,
            int(channels)?,
            int(groups)?,
        ];
        let kernel = from.kind.choose(["group_norm_gradient_f32", "group_norm_gradient_bf16"]);
        gpu.launch(kernel, Grid::rows(mean.numbers.len, pixels * channels / groups), &launched)?;
        let rows = from.len / channels.max(1);
        let chunks = Chunks::to_sum(rows, channels);
        let partials = chunks.partials(&gpu, channels)?;
        let launched = [
            from.into(),
            of_result.into(),
            mean.argument(),
            inverse.argument(),
            partials.argument(),
            long(rows),
            int(channels)?,
            int(chunks.each)?,
            int(pixels)?,
            int(groups)?,
        ];
        let kernel = from.kind.choose(["group_norm_affine_f32", "group_norm_affine_bf16"]);
        gpu.launch(kernel, chunks.grid(channels), &launched)?;
        let of_affine = partials.totals(&gpu, chunks, channels, 2 * channels)?;
        Ok(vec![Some(of_x.tensor(x.shape())), Some(of_affine.tensor(stacked.shape()))])
    }
}
