//! Fully connected layers and biases.

use candle_core::{CudaStorage, Result, Shape, Tensor};
use lookbehind_common::job::Precision;

use super::{
    Chunks, Kind, OnCuda, Place, arguments, column_sums, current, gradient_like, int, long, operand, singles,
};
use crate::cuda::{Batches, Matrix, Numbers, Product, allocate, numbers};
use crate::ops::linear::{AddBias, Linear};

/// Writes x + bias to `y`, for x `[rows, channels]`; y may be x.
fn add_bias(x: Numbers, bias: &Tensor, y: &Place) -> Result<()> {
    let channels = bias.elem_count();
    let bias = singles(bias)?;
    let rows = x.len / channels.max(1);
    let chunks = Chunks::to_map(rows);
    let launched = [x.into(), bias.into(), y.argument(), long(rows), int(channels)?, int(chunks.each)?];
    current()?.launch(x.kind.choose(["add_bias_f32", "add_bias_bf16"]), chunks.grid(channels), &launched)
}

impl OnCuda for AddBias {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x, bias] = arguments(given)?;
        let from = numbers(x)?;
        let y = Place::new(&*current()?, from.kind, from.len)?;
        add_bias(from, bias, &y)?;
        Ok((y.storage, x.shape().clone()))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [_, bias] = arguments(given)?;
        let gradient = gradient.contiguous()?;
        let of_bias = column_sums(numbers(&gradient)?, bias.elem_count())?.tensor(bias.shape());
        Ok(vec![Some(gradient), Some(of_bias)])
    }
}

/// [rows, columns] = lhs [rows, depth] · rhs [depth, columns], f32.
fn product(
    precision: Precision,
    [rows, columns, depth]: [usize; 3],
    lhs: Matrix,
    rhs: Matrix,
) -> Result<Place> {
    let gpu = current()?;
    let (storage, output) = allocate(&gpu, Kind::F32, rows * columns)?;
    let place = Place { storage, numbers: output };
    let output = Matrix::new(output, columns);
    gpu.multiply(precision, &Product { rows, columns, depth, lhs, rhs, output, batches: Batches::ONE })?;
    Ok(place)
}

impl OnCuda for Linear {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x, weight, bias] = arguments(given)?;
        let ((rows, inputs), (outputs, _)) = (x.dims2()?, weight.dims2()?);
        let (x, weight) =
            (operand(x, Kind::of_products(self.0))?, operand(weight, Kind::of_products(self.0))?);
        let lhs = Matrix::new(numbers(&x)?, inputs);
        let rhs = Matrix::new(numbers(&weight)?, inputs).transposed();
        let y = product(self.0, [rows, outputs, inputs], lhs, rhs)?;
        add_bias(y.numbers, bias, &y)?;
        Ok((y.storage, Shape::from((rows, outputs))))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, weight, bias] = arguments(given)?;
        let ((rows, inputs), (outputs, _)) = (x.dims2()?, weight.dims2()?);
        let gradient = gradient.contiguous()?;
        let of_bias = column_sums(numbers(&gradient)?, outputs)?.tensor(bias.shape());
        let kind = Kind::of_products(self.0);
        let (gradient, from) = (operand(&gradient, kind)?, operand(x, kind)?);
        let gradient = Matrix::new(numbers(&gradient)?, outputs);
        let lhs = Matrix::new(numbers(&from)?, inputs);
        let of_weight = product(self.0, [outputs, inputs, rows], gradient.transposed(), lhs)?;
        let of_x = if x.track_op() {
            let weight = operand(weight, kind)?;
            let rhs = Matrix::new(numbers(&weight)?, inputs);
            let of_x = product(self.0, [rows, inputs, outputs], gradient, rhs)?;
            Some(gradient_like(of_x.tensor(x.shape()), x)?)
        } else {
            None
        };
        Ok(vec![of_x, Some(of_weight.tensor(weight.shape())), Some(of_bias)])
    }
}
