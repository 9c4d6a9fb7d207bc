//! Scaled dot-product attention: products by the library, head by head over all samples, and the softmax between them.

use candle_core::{CudaStorage, Result, Shape, Tensor};

use super::{Argument, Grid, Kind, OnCuda, Place, arguments, current, gradient_like, int, operand};
use crate::cuda::{Batches, Matrix, Product, numbers};
use crate::ops::attention::Attention;

/// Operands of one head: each `[samples, tokens, channels]`, of which a head has some columns.
struct Heads<'a> {
    operation: &'a Attention,
    samples: usize,
}

impl Heads<'_> {
    fn scores_len(&self) -> usize {
        self.samples * self.operation.tokens * self.operation.tokens
    }

    /// One head's columns of every sample.
    fn part(&self, x: &Tensor, head: usize) -> Result<Matrix> {
        let width = self.operation.head_channels();
        Ok(Matrix::new(numbers(x)?, self.operation.channels).columns_from(head * width))
    }

    /// a bᵀ of one head, `[samples, tokens, tokens]`.
    fn scores(&self, a: &Tensor, b: &Tensor, head: usize) -> Result<Place> {
        let Attention { tokens, precision, .. } = *self.operation;
        let gpu = current()?;
        let scores = Place::new(&gpu, Kind::F32, self.scores_len())?;
        let product = Product {
            rows: tokens,
            columns: tokens,
            depth: self.operation.head_channels(),
            lhs: self.part(a, head)?,
            rhs: self.part(b, head)?.transposed(),
            output: Matrix::new(scores.numbers, tokens),
            batches: Batches {
                count: self.samples,
                lhs: self.operation.sample(),
                rhs: self.operation.sample(),
                output: tokens * tokens,
            },
        };
        gpu.multiply(precision, &product)?;
        Ok(scores)
    }

    /// Writes scores · x, or their transpose · x, to one head's columns of `output`.
    fn weighted(&self, scores: Matrix, x: &Tensor, head: usize, output: &Place) -> Result<()> {
        let Attention { tokens, channels, precision, .. } = *self.operation;
        let width = self.operation.head_channels();
        let product = Product {
            rows: tokens,
            columns: width,
            depth: tokens,
            lhs: scores,
            rhs: self.part(x, head)?,
            output: Matrix::new(output.numbers, channels).columns_from(head * width),
            batches: Batches {
                count: self.samples,
                lhs: tokens * tokens,
                rhs: self.operation.sample(),
                output: self.operation.sample(),
            },
        };
        current()?.multiply(precision, &product)
    }

    /// The weights of one head, f32: each row sums to 1.
    fn weights(&self, q: &Tensor, k: &Tensor, head: usize) -> Result<Tensor> {
        let tokens = self.operation.tokens;
        let scores = self.scores(q, k, head)?;
        let launched = [scores.argument(), int(tokens)?, Argument::Float(self.operation.scale())];
        current()?.launch("softmax", Grid::rows(self.samples * tokens, tokens), &launched)?;
        Ok(scores.tensor((self.samples, tokens, tokens)))
    }

    fn of<'a>(operation: &'a Attention, q: &Tensor) -> Result<(Heads<'a>, Kind)> {
        Ok((Heads { operation, samples: q.dim(0)? }, Kind::of_products(operation.precision)))
    }
}

/// Scores as a product takes them; they are there as long as the tensor is.
fn square(scores: &Tensor, tokens: usize) -> Result<Matrix> {
    Ok(Matrix::new(numbers(scores)?, tokens))
}

impl OnCuda for Attention {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [q, k, v] = arguments(given)?;
        let (heads, kind) = Heads::of(self, q)?;
        let result = Place::new(&*current()?, Kind::F32, q.elem_count())?;
        let shape = q.shape().clone();
        let (q, k, v) = (operand(q, kind)?, operand(k, kind)?, operand(v, kind)?);
        for head in 0..self.heads {
            let weights = operand(&heads.weights(&q, &k, head)?, kind)?;
            heads.weighted(square(&weights, self.tokens)?, &v, head, &result)?;
        }
        Ok((result.storage, shape))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let originals: &[Tensor; 3] = arguments(given)?;
        let [q, k, v] = originals;
        let (gpu, tokens) = (current()?, self.tokens);
        let (heads, kind) = Heads::of(self, q)?;
        let place = || Place::new(&gpu, Kind::F32, q.elem_count());
        let (of_q, of_k, of_v) = (place()?, place()?, place()?);
        let (q, k, v) = (operand(q, kind)?, operand(k, kind)?, operand(v, kind)?);
        let gradient = operand(gradient, kind)?;
        for head in 0..self.heads {
            let weights = heads.weights(&q, &k, head)?;
            let rounded = operand(&weights, kind)?;
            heads.weighted(square(&rounded, tokens)?.transposed(), &gradient, head, &of_v)?;
            let of_scores = heads.scores(&gradient, &v, head)?;
            let launched = [
                numbers(&weights)?.into(),
                of_scores.argument(),
                int(tokens)?,
                Argument::Float(self.scale()),
            ];
            gpu.launch("softmax_gradient", Grid::rows(heads.samples * tokens, tokens), &launched)?;
            let of_scores = operand(&of_scores.tensor(weights.shape()), kind)?;
            let of_scores = &of_scores;
            heads.weighted(square(of_scores, tokens)?, &k, head, &of_q)?;
            heads.weighted(square(of_scores, tokens)?.transposed(), &q, head, &of_k)?;
        }
        let gradients = [of_q, of_k, of_v].into_iter().zip(originals);
        gradients.map(|(place, like)| gradient_like(place.tensor(like.shape()), like).map(Some)).collect()
    }
}
