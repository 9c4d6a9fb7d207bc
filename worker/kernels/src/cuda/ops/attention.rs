//! Scaled dot-product attention: matrix products by the library, head by head over all samples, and the softmax between
//! them.

use candle_core::{CudaStorage, Result, Shape, Tensor};
use cudarc::driver::CudaSlice;

use super::{OnCuda, arguments, gradient_like, operand};
use crate::attention::Attention;
use crate::cuda::{DType, Gemm, Matrix, Number, Place, by_dtype, current, kernels, storage, tensor, view};

/// Operands of one head: each `[samples, tokens, channels]`, of which the head has some columns.
struct Heads<'a> {
    operation: &'a Attention,
    samples: usize,
}

impl Heads<'_> {
    fn of<'a>(operation: &'a Attention, q: &Tensor) -> Result<(Heads<'a>, DType)> {
        Ok((Heads { operation, samples: q.dim(0)? }, DType::of_products(operation.precision)))
    }

    /// One head's columns of every sample.
    fn part<'x, N: Number>(&self, x: &'x Tensor, head: usize) -> Result<Matrix<'x, N>> {
        let Attention { channels, .. } = *self.operation;
        let part = Matrix::new(view(x)?, channels).every(self.operation.sample());
        Ok(part.columns_from(head * self.operation.head_channels()))
    }

    /// Scores as an operand of matrix products.
    fn square<'x, N: Number>(&self, scores: &'x Tensor) -> Result<Matrix<'x, N>> {
        let tokens = self.operation.tokens;
        Ok(Matrix::new(view(scores)?, tokens).every(tokens * tokens))
    }

    /// a bᵀ of one head, `[samples, tokens, tokens]`.
    fn scores<N: Number>(&self, a: &Tensor, b: &Tensor, head: usize) -> Result<CudaSlice<f32>> {
        let Attention { tokens, precision, .. } = *self.operation;
        let product = Gemm {
            rows: tokens,
            columns: tokens,
            depth: self.operation.head_channels(),
            count: self.samples,
            lhs: self.part::<N>(a, head)?,
            rhs: self.part(b, head)?.transposed(),
        };
        current()?.gemm(precision, &product)
    }

    /// Writes scores · x, or their transpose · x, to one head's columns of `output`.
    fn weighted<N: Number>(
        &self,
        scores: Matrix<'_, N>,
        x: &Tensor,
        head: usize,
        output: &mut CudaSlice<f32>,
    ) -> Result<()> {
        let Attention { tokens, channels, precision, .. } = *self.operation;
        let width = self.operation.head_channels();
        let product = Gemm {
            rows: tokens,
            columns: width,
            depth: tokens,
            count: self.samples,
            lhs: scores,
            rhs: self.part(x, head)?,
        };
        let place = Place { first: head * width, row: channels, batch: self.operation.sample() };
        current()?.gemm_into(precision, &product, output, place)
    }

    /// The attention weights of one head, f32: each row sums to 1.
    fn weights<N: Number>(&self, q: &Tensor, k: &Tensor, head: usize) -> Result<Tensor> {
        let (gpu, tokens) = (current()?, self.operation.tokens);
        let mut scores = self.scores::<N>(q, k, head)?;
        let scale = self.operation.scale();
        kernels::softmax(&gpu, &mut scores, tokens, scale, self.samples * tokens)?;
        Ok(tensor(scores, (self.samples, tokens, tokens), &gpu))
    }

    fn forward<N: Number>(&self, [q, k, v]: [&Tensor; 3], result: &mut CudaSlice<f32>) -> Result<()> {
        for head in 0..self.operation.heads {
            let weights = operand(&self.weights::<N>(q, k, head)?, N::DTYPE)?;
            self.weighted::<N>(self.square(&weights)?, v, head, result)?;
        }
        Ok(())
    }

    /// Adds one head's share to the gradients of q, k and v.
    fn backward<N: Number>(
        &self,
        [q, k, v]: [&Tensor; 3],
        gradient: &Tensor,
        head: usize,
        [of_q, of_k, of_v]: &mut [CudaSlice<f32>; 3],
    ) -> Result<()> {
        let (gpu, tokens) = (current()?, self.operation.tokens);
        let weights = self.weights::<N>(q, k, head)?;
        let rounded = operand(&weights, N::DTYPE)?;
        self.weighted::<N>(self.square(&rounded)?.transposed(), gradient, head, of_v)?;
        let mut of_scores = self.scores::<N>(gradient, v, head)?;
        let (scale, rows) = (self.operation.scale(), self.samples * tokens);
        kernels::softmax_gradient(&gpu, view(&weights)?, &mut of_scores, tokens, scale, rows)?;
        let of_scores = operand(&tensor(of_scores, weights.shape(), &gpu), N::DTYPE)?;
        self.weighted::<N>(self.square(&of_scores)?, k, head, of_q)?;
        self.weighted::<N>(self.square(&of_scores)?.transposed(), q, head, of_k)
    }
}

impl OnCuda for Attention {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [q, k, v] = arguments(given)?;
        let (heads, kind) = Heads::of(self, q)?;
        let (gpu, shape) = (current()?, q.shape().clone());
        // Each head writes its own columns only.
        let mut result = gpu.zeros::<f32>(q.elem_count())?;
        let (q, k, v) = (operand(q, kind)?, operand(k, kind)?, operand(v, kind)?);
        by_dtype!(kind, N => heads.forward::<N>([&q, &k, &v], &mut result))?;
        Ok((storage(result, &gpu), shape))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let originals: &[Tensor; 3] = arguments(given)?;
        let [q, k, v] = originals;
        let (gpu, (heads, kind)) = (current()?, Heads::of(self, q)?);
        let zeros = || gpu.zeros::<f32>(q.elem_count());
        let mut gradients = [zeros()?, zeros()?, zeros()?];
        let (q, k, v) = (operand(q, kind)?, operand(k, kind)?, operand(v, kind)?);
        let gradient = operand(gradient, kind)?;
        for head in 0..self.heads {
            let given = [&q, &k, &v];
            by_dtype!(kind, N => heads.backward::<N>(given, &gradient, head, &mut gradients))?;
        }
        let gradients = gradients.into_iter().zip(originals);
        gradients.map(|(of, like)| gradient_like(&tensor(of, like.shape(), &gpu), like).map(Some)).collect()
    }
}
