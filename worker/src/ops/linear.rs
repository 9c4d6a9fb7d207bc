//! The affine map of a fully connected layer, as one operation: the bias is added in place, the weight's gradient
//! comes out in the weight's own layout, and the input's is computed only where somebody needs it.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, Device, Layout, Result, Shape, Tensor};
use lookbehind_common::job::Precision;

use super::gemm::{Lhs, Output, Panels, multiply_parallel};
use super::output::written;
use super::precision::{declared, operand};
use super::row_sums::row_sums;
use super::storage::{contiguous, with_numbers};
use super::tape::{apply2, apply3};

/// y = x Wᵀ + b for x `[.., in]`, W `[out, in]` and b `[out]`; y is `[.., out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (inputs, (outputs, columns), biases) = (x.dim(D::Minus1)?, weight.dims2()?, bias.dims1()?);
    if inputs != columns || outputs != biases {
        candle_core::bail!(
            "inputs [n, {inputs}], weight [{outputs}, {columns}] and bias [{biases}] do not fit each other"
        );
    }
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(outputs);
    let x = x.contiguous()?;
    let rows = if x.rank() == 2 { x } else { x.reshape(((), inputs))? };
    let y = apply3(&rows, &weight.contiguous()?, &bias.contiguous()?, Linear(declared()))?;
    if shape.len() == 2 { Ok(y) } else { y.reshape(shape) }
}

/// x + b for x `[.., c]` and b `[c]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (channels, biases) = (x.dim(D::Minus1)?, bias.dims1()?);
    if channels != biases {
        candle_core::bail!("{channels} channels and a bias [{biases}] do not fit each other");
    }
    apply2(&x.contiguous()?, &bias.contiguous()?, AddBias)
}

/// Its two operands are rounded, the bias is not.
pub(super) struct Linear(pub(super) Precision);

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = x_layout.shape().dims2()?;
        let (outputs, _) = weight_layout.shape().dims2()?;
        let x = operand(self.0, contiguous(x, x_layout)?);
        let weight = operand(self.0, contiguous(weight, weight_layout)?);
        let panels = Panels::of_columns(&weight, inputs, outputs);
        let mut y = product(rows, Lhs::rows(&x, inputs), &panels, outputs);
        add_to_rows(contiguous(bias, bias_layout)?, &mut y);
        Ok((CpuStorage::F32(y), Shape::from((rows, outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let ((rows, inputs), (outputs, _)) = (x.dims2()?, weight.dims2()?);
        let tensor = |numbers: Vec<f32>, like: &Tensor| Tensor::from_vec(numbers, like.shape(), &Device::Cpu);
        let (of_x, of_weight, of_bias) = with_numbers([x, weight, &gradient], |[from, weight, gradient]| {
            let of_bias = column_sums(gradient, outputs);
            let gradient = operand(self.0, gradient);
            let of_x = x.track_op().then(|| {
                let panels = Panels::of_rows(&operand(self.0, weight), outputs, inputs);
                product(rows, Lhs::rows(&gradient, outputs), &panels, inputs)
            });
            let panels = Panels::of_rows(&operand(self.0, from), rows, inputs);
            let of_weight = product(outputs, Lhs::transposed(&gradient, outputs), &panels, inputs);
            (of_x, of_weight, of_bias)
        })?;
        let of_x = of_x.map(|numbers| tensor(numbers, x)).transpose()?;
        Ok((of_x, Some(tensor(of_weight, weight)?), Some(tensor(of_bias, bias)?)))
    }
}

fn product(rows: usize, lhs: Lhs<'_>, panels: &Panels, columns: usize) -> Vec<f32> {
    written(rows * columns, |numbers| {
        multiply_parallel(rows, lhs, panels.rhs(), Output { numbers, row: columns, accumulate: false });
    })
}

fn add_to_rows(bias: &[f32], matrix: &mut [f32]) {
    for row in matrix.chunks_exact_mut(bias.len().max(1)) {
        row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
    }
}

fn column_sums(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns.max(1);
    let sums = row_sums(rows, columns, |rows, sums| {
        for row in matrix[rows.start * columns..rows.end * columns].chunks_exact(columns) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
    });
    sums.into_iter().map(|sum| sum as f32).collect()
}

pub(super) struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut y = contiguous(x, x_layout)?.to_vec();
        add_to_rows(contiguous(bias, bias_layout)?, &mut y);
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let sums = with_numbers([&gradient], |[gradient]| column_sums(gradient, bias.elem_count()))?;
        let of_bias = Tensor::from_vec(sums, bias.shape(), &Device::Cpu)?;
        Ok((Some(gradient), Some(of_bias)))
    }
}

#[cfg(test)]
#[path = "linear_test.rs"]
mod tests;
