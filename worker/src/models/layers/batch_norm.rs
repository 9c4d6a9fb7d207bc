//! Batch normalisation (Ioffe and Szegedy, ICML 2015) over a shard of the batch.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::EPS;
use super::onnx::activated;
use crate::models::ForwardContext;
use crate::onnx::{Attribute, Graph};
use lookbehind_kernels::{self as ops, Activation, Affine, Normalized};

/// Normalises each channel over samples and places: with the statistics of its batch in training, with the running
/// statistics in a test or where they are frozen.
pub(in crate::models) struct BatchNorm {
    /// Prefix of its tensors' names, for reporting batch statistics.
    prefix: String,
    /// Its name in errors.
    place: String,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
}

impl BatchNorm {
    /// A layer for `channels` channels: `weight`, `bias`, `running_mean` and `running_var`, each [c]. Errors name it by
    /// the prefix of its tensors' names.
    pub(in crate::models) fn new(channels: usize, builder: &VarBuilder<'_>) -> Result<Self> {
        Self::at(builder.prefix(), channels, builder)
    }

    /// A layer that errors name by its place in the job.
    pub(in crate::models) fn at(place: String, channels: usize, builder: &VarBuilder<'_>) -> Result<Self> {
        let get = |name, value| builder.get_with_hints(channels, name, Init::Const(value));
        Ok(Self {
            prefix: builder.prefix(),
            place,
            weight: get("weight", 1.0)?,
            bias: get("bias", 0.0)?,
            running_mean: get("running_mean", 0.0)?,
            running_var: get("running_var", 1.0)?,
        })
    }

    /// activation(norm(x) + residual) of [n, .., c]. In training, the batch statistics are reported.
    pub(in crate::models) fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        activation: Activation,
        context: &ForwardContext<'_>,
    ) -> Result<Tensor> {
        let affine = Affine { weight: &self.weight, bias: &self.bias, eps: EPS };
        if !context.uses_batch_statistics() {
            let (mean, variance) = (&self.running_mean, &self.running_var);
            return ops::batch_norm_inference(x, &affine, mean, variance, residual, activation);
        }
        self.check_values(x)?;
        let Normalized { output, mean, variance } = ops::batch_norm(x, &affine, residual, activation)?;
        context.report(format!("{}.running_mean", self.prefix), &mean);
        context.report(format!("{}.running_var", self.prefix), &variance);
        Ok(output)
    }

    /// activation(norm(x) + residual) of [n, c, ..] in a graph of ONNX.
    pub(in crate::models) fn onnx(
        &self,
        x: &str,
        residual: Option<&str>,
        activation: Activation,
        graph: &mut Graph<'_>,
    ) -> Result<String> {
        let mut inputs = vec![x.to_owned()];
        for tensor in [&self.weight, &self.bias, &self.running_mean, &self.running_var] {
            inputs.push(graph.tensor(tensor)?);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let y = graph.node("BatchNormalization", &inputs, &[Attribute::Float("epsilon", EPS as f32)]);
        Ok(activated(y, residual, activation, graph))
    }

    /// Refuses a single value per channel: it has no variance.
    fn check_values(&self, x: &Tensor) -> Result<()> {
        let values = x.elem_count() / x.dims().last().copied().unwrap_or(1).max(1);
        if values > 1 {
            return Ok(());
        }
        candle_core::bail!(
            "{}: batch normalisation over a shard needs 2 values per channel or more, found {values}: choose fewer \
             train.shards, another train.batch_size, data.drop_last = true where the last batch is the small one, \
             or a normalisation that does not depend on the batch",
            self.place
        )
    }
}
