//! Fully connected layers and biases.

use candle_core::{CudaStorage, Result, Shape, Tensor};
use cudarc::driver::CudaSlice;
use lookbehind_common::job::Precision;

use super::{Chunks, OnCuda, arguments, column_sums, gradient_like, operand, rows_of};
use crate::cuda::{DType, Gemm, Matrix, Number, by_dtype, current, kernels, storage, tensor, view};
use crate::linear::{AddBias, Linear};

impl OnCuda for AddBias {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x, bias] = arguments(given)?;
        let (gpu, channels) = (current()?, bias.elem_count());
        let rows = rows_of(x.elem_count(), channels)?;
        let each = Chunks::to_map(rows).each;
        let y = by_dtype!(DType::of(x)?, N => {
            let y = kernels::add_bias::<N>(&gpu, view(x)?, view(bias)?, rows, channels, each)?;
            storage(y, &gpu)
        });
        Ok((y, x.shape().clone()))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [_, bias] = arguments(given)?;
        let gradient = gradient.contiguous()?;
        let of_bias = column_sums(&gradient, bias.elem_count())?.reshape(bias.shape())?;
        Ok(vec![Some(gradient), Some(of_bias)])
    }
}

/// [rows, columns] = lhs [rows, depth] · rhs [depth, columns], f32.
fn product<N: Number>(
    precision: Precision,
    [rows, columns, depth]: [usize; 3],
    lhs: Matrix<'_, N>,
    rhs: Matrix<'_, N>,
) -> Result<CudaSlice<f32>> {
    current()?.gemm(precision, &Gemm { rows, columns, depth, count: 1, lhs, rhs })
}

impl Linear {
    /// x · weightᵀ for operands of one element type.
    fn multiplied<N: Number>(&self, x: &Tensor, weight: &Tensor) -> Result<CudaSlice<f32>> {
        let ((rows, inputs), (outputs, _)) = (x.dims2()?, weight.dims2()?);
        let lhs = Matrix::<N>::new(view(x)?, inputs);
        let rhs = Matrix::new(view(weight)?, inputs).transposed();
        product(self.0, [rows, outputs, inputs], lhs, rhs)
    }

    /// The weight's gradient: gradientᵀ · x.
    fn of_weight<N: Number>(&self, x: &Tensor, gradient: &Tensor) -> Result<CudaSlice<f32>> {
        let ((rows, inputs), (_, outputs)) = (x.dims2()?, gradient.dims2()?);
        let lhs = Matrix::<N>::new(view(gradient)?, outputs).transposed();
        product(self.0, [outputs, inputs, rows], lhs, Matrix::new(view(x)?, inputs))
    }

    /// The input's gradient: gradient · weight.
    fn of_x<N: Number>(&self, gradient: &Tensor, weight: &Tensor) -> Result<CudaSlice<f32>> {
        let ((rows, outputs), (_, inputs)) = (gradient.dims2()?, weight.dims2()?);
        let lhs = Matrix::<N>::new(view(gradient)?, outputs);
        product(self.0, [rows, inputs, outputs], lhs, Matrix::new(view(weight)?, inputs))
    }
}

impl OnCuda for Linear {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x, weight, bias] = arguments(given)?;
        let (gpu, (rows, _), (outputs, _)) = (current()?, x.dims2()?, weight.dims2()?);
        let kind = DType::of_products(self.0);
        let (x, weight) = (operand(x, kind)?, operand(weight, kind)?);
        let mut y = by_dtype!(kind, N => self.multiplied::<N>(&x, &weight))?;
        let each = Chunks::to_map(rows).each;
        kernels::add_bias_in_place(&gpu, &mut y, view(bias)?, rows, outputs, each)?;
        Ok((storage(y, &gpu), Shape::from((rows, outputs))))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, weight, bias] = arguments(given)?;
        let (gpu, kind, gradient) = (current()?, DType::of_products(self.0), gradient.contiguous()?);
        let of_bias = column_sums(&gradient, bias.elem_count())?.reshape(bias.shape())?;
        let (gradient, from) = (operand(&gradient, kind)?, operand(x, kind)?);
        let of_weight = by_dtype!(kind, N => self.of_weight::<N>(&from, &gradient))?;
        let of_x = if x.track_op() {
            let weight = operand(weight, kind)?;
            let of_x = by_dtype!(kind, N => self.of_x::<N>(&gradient, &weight))?;
            Some(gradient_like(&tensor(of_x, x.shape(), &gpu), x)?)
        } else {
            None
        };
        Ok(vec![of_x, Some(tensor(of_weight, weight.shape(), &gpu)), Some(of_bias)])
    }
}
