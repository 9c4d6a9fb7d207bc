//! The affine map of a fully connected layer, as one operation: the bias is added in place, the weight's gradient
//! comes out in the weight's own layout, and the input's is computed only where somebody needs it.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};

use super::storage::contiguous;

/// y = x Wᵀ + b for x `[.., in]`, W `[out, in]` and b `[out]`; y is `[.., out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if x.rank() > 2 {
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = weight.dim(0)?;
        }
        return linear(&x.flatten_to(candle_core::D::Minus2)?, weight, bias)?.reshape(shape);
    }
    let ((_, inputs), (outputs, columns), biases) = (x.dims2()?, weight.dims2()?, bias.dims1()?);
    if inputs != columns || outputs != biases {
        candle_core::bail!(
            "inputs [n, {inputs}], weight [{outputs}, {columns}] and bias [{biases}] do not fit each other"
        );
    }
    if x.device().is_cpu() {
        return x.apply_op3(weight, &bias.contiguous()?, Linear);
    }
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}

struct Linear;

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
        let transposed = weight_layout.transpose(0, 1)?;
        let mut product = x.matmul(weight, (1, rows, outputs, inputs), x_layout, &transposed)?;
        let bias = contiguous(bias, bias_layout)?;
        if let CpuStorage::F32(product) = &mut product {
            for row in product.chunks_exact_mut(outputs.max(1)) {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
        Ok((product, Shape::from((rows, outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let x_gradient = if x.track_op() { Some(gradient.matmul(weight)?) } else { None };
        let weight_gradient = gradient.t()?.matmul(x)?;
        let bias_gradient = gradient.apply_op1_no_bwd(&ColumnSums)?;
        Ok((x_gradient, Some(weight_gradient), Some(bias_gradient)))
    }
}

/// Sums over the rows of a matrix, one row after the other.
struct ColumnSums;

impl CustomOp1 for ColumnSums {
    fn name(&self) -> &'static str {
        "column-sums"
    }

    fn cpu_fwd(&self, matrix: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, columns) = layout.shape().dims2()?;
        let mut sums = vec![0_f32; columns];
        for row in contiguous(matrix, layout)?.chunks_exact(columns.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        Ok((CpuStorage::F32(sums), Shape::from(columns)))
    }
}

#[cfg(test)]
#[path = "linear_test.rs"]
mod tests;
