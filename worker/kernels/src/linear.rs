//! The affine map of a fully connected layer, as one operation: the bias is added in place, the weight's gradient is
//! computed in the weight's own layout, and the input's gradient only where it is needed.

use candle_core::{D, Device, Result, Shape, Tensor};
use lookbehind_common::job::Precision;

use super::gemm::{Lhs, Panels, product};
use super::precision::{declared, operand};
use super::row_sums::row_sums;
use super::storage::with_elements;
use super::tape::{Kernel, apply2, apply3};

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

/// The precision applies to the two operands of the matrix product; the bias is not rounded.
pub(super) struct Linear(pub(super) Precision);

impl Kernel<3> for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn compute(
        &self,
        [x, weight, bias]: [&[f32]; 3],
        [of_x, of_weight, _]: [&Shape; 3],
    ) -> Result<(Vec<f32>, Shape)> {
        let ((rows, inputs), (outputs, _)) = (of_x.dims2()?, of_weight.dims2()?);
        let [x, weight] = [x, weight].map(|elements| operand(self.0, elements));
        let panels = Panels::of_columns(&weight, inputs, outputs);
        let mut y = product(rows, Lhs::rows(&x, inputs), panels.rhs());
        add_to_rows(bias, &mut y);
        Ok((y, Shape::from((rows, outputs))))
    }

    fn gradients(
        &self,
        [x, weight, bias]: [&Tensor; 3],
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let ((rows, inputs), (outputs, _)) = (x.dims2()?, weight.dims2()?);
        let tensor =
            |elements: Vec<f32>, like: &Tensor| Tensor::from_vec(elements, like.shape(), &Device::Cpu);
        let trains_weight = weight.track_op();
        let (of_x, of_weight, of_bias) = with_elements([x, weight, gradient], |[from, weight, gradient]| {
            let of_bias = column_sums(gradient, outputs);
            let gradient = operand(self.0, gradient);
            let of_x = x.track_op().then(|| {
                let panels = Panels::of_rows(&operand(self.0, weight), outputs, inputs);
                product(rows, Lhs::rows(&gradient, outputs), panels.rhs())
            });
            let of_weight = trains_weight.then(|| {
                let panels = Panels::of_rows(&operand(self.0, from), rows, inputs);
                product(outputs, Lhs::transposed(&gradient, outputs), panels.rhs())
            });
            (of_x, of_weight, of_bias)
        })?;
        let of_x = of_x.map(|elements| tensor(elements, x)).transpose()?;
        let of_weight = of_weight.map(|elements| tensor(elements, weight)).transpose()?;
        Ok([of_x, of_weight, Some(tensor(of_bias, bias)?)])
    }
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

impl Kernel<2> for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn compute(&self, [x, bias]: [&[f32]; 2], [shape, _]: [&Shape; 2]) -> Result<(Vec<f32>, Shape)> {
        let mut y = x.to_vec();
        add_to_rows(bias, &mut y);
        Ok((y, shape.clone()))
    }

    fn gradients(
        &self,
        [_, bias]: [&Tensor; 2],
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let sums = with_elements([gradient], |[gradient]| column_sums(gradient, bias.elem_count()))?;
        let of_bias = Tensor::from_vec(sums, bias.shape(), &Device::Cpu)?;
        Ok([Some(gradient.clone()), Some(of_bias)])
    }
}

#[cfg(test)]
mod tests;
