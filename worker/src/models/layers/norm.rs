//! Normalisation that does not depend on the batch, and the choice between it and batch normalisation.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use lookbehind_common::job::JobError;
use serde::Deserialize;

use super::onnx::activated;
use super::{BatchNorm, EPS};
use crate::models::{Built, ForwardContext};
use crate::onnx::{Attribute, Graph};
use lookbehind_kernels::{self as ops, Activation, Affine};

/// Scale and shift of a normalisation, `weight` and `bias`, each [c].
struct Scale {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl Scale {
    fn new(channels: usize, eps: f64, builder: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            weight: builder.get_with_hints(channels, "weight", Init::Const(1.0))?,
            bias: builder.get_with_hints(channels, "bias", Init::Const(0.0))?,
            eps,
        })
    }

    fn affine(&self) -> Affine<'_> {
        Affine { weight: &self.weight, bias: &self.bias, eps: self.eps }
    }

    /// An operation of ONNX with this scale and shift.
    fn onnx(
        &self,
        operator: &str,
        x: &str,
        attribute: Attribute<'_>,
        graph: &mut Graph<'_>,
    ) -> Result<String> {
        let (weight, bias) = (graph.tensor(&self.weight)?, graph.tensor(&self.bias)?);
        let epsilon = Attribute::Float("epsilon", self.eps as f32);
        Ok(graph.node(operator, &[x, &weight, &bias], &[attribute, epsilon]))
    }
}

/// Group normalisation (Wu and He, ECCV 2018): over each group of channels of a sample, at all places.
pub(in crate::models) struct GroupNorm {
    groups: usize,
    scale: Scale,
}

impl GroupNorm {
    /// A layer for `channels` channels, a multiple of `groups`.
    pub(in crate::models) fn new(groups: usize, channels: usize, builder: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self { groups, scale: Scale::new(channels, EPS, builder)? })
    }

    /// [n, .., c] to the same shape.
    pub(in crate::models) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm(x, self.groups, &self.scale.affine())
    }

    /// [n, c, ..] to the same shape in a graph of ONNX, whose operator wants at least one dimension after the channels.
    pub(in crate::models) fn onnx(&self, x: &str, graph: &mut Graph<'_>) -> Result<String> {
        let axis = graph.integers(&[2]);
        let x = graph.node("Unsqueeze", &[x, &axis], &[]);
        let groups = Attribute::Int("num_groups", self.groups as i64);
        let y = self.scale.onnx("GroupNormalization", &x, groups, graph)?;
        Ok(graph.node("Squeeze", &[&y, &axis], &[]))
    }
}

/// Layer normalisation (Ba, Kiros and Hinton, arXiv 1607.06450): over each row of channels.
pub(in crate::models) struct LayerNorm {
    scale: Scale,
}

impl LayerNorm {
    /// A layer for rows of `channels` elements, with PyTorch's epsilon.
    pub(in crate::models) fn new(channels: usize, builder: &VarBuilder<'_>) -> Result<Self> {
        Self::with_eps(channels, EPS, builder)
    }

    /// A layer with another epsilon.
    pub(in crate::models) fn with_eps(channels: usize, eps: f64, builder: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self { scale: Scale::new(channels, eps, builder)? })
    }

    /// [.., c] to the same shape.
    pub(in crate::models) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.scale.affine())
    }

    /// [.., c] to the same shape in a graph of ONNX.
    pub(in crate::models) fn onnx(&self, x: &str, graph: &mut Graph<'_>) -> Result<String> {
        self.scale.onnx("LayerNormalization", x, Attribute::Int("axis", -1), graph)
    }
}

/// The values of `norm` in a job.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::models) enum NormName {
    #[default]
    Batch,
    Group,
}

/// Which normalisation follows a model's convolutions.
#[derive(Clone, Copy, Debug)]
pub(in crate::models) enum NormKind {
    /// Over the samples of the shard.
    Batch,
    /// Over groups of channels.
    Group { groups: usize },
}

impl NormKind {
    /// The choice of a job's `norm` and `groups`.
    pub(in crate::models) fn new(
        norm: NormName,
        groups: Option<usize>,
    ) -> std::result::Result<Self, JobError> {
        let refuse = |problem| Err(JobError::new("model.groups", problem));
        match (norm, groups) {
            (NormName::Batch, None) => Ok(Self::Batch),
            (NormName::Batch, Some(_)) => refuse("only norm = \"group\" has groups"),
            (NormName::Group, None) => refuse("norm = \"group\" needs it"),
            (NormName::Group, Some(0)) => refuse("expected 1 or more, found 0"),
            (NormName::Group, Some(groups)) => Ok(Self::Group { groups }),
        }
    }
}

/// The normalisation after (or before) a convolution.
pub(in crate::models) enum Norm {
    Batch(BatchNorm),
    Group(GroupNorm),
}

impl Norm {
    /// A layer of the chosen kind; its tensors have the same names for every kind.
    pub(in crate::models) fn new(kind: NormKind, channels: usize, builder: &VarBuilder<'_>) -> Built<Self> {
        match kind {
            NormKind::Batch => Ok(Self::Batch(BatchNorm::new(channels, builder)?)),
            NormKind::Group { groups } if channels.is_multiple_of(groups) => {
                Ok(Self::Group(GroupNorm::new(groups, channels, builder)?))
            }
            NormKind::Group { groups } => {
                let problem = format!(
                    "expected a divisor of the {channels} channels of {}, found {groups}",
                    builder.prefix()
                );
                Err(JobError::new("model.groups", &problem).into())
            }
        }
    }

    /// activation(norm(x) + residual) of [n, h, w, c].
    pub(in crate::models) fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        activation: Activation,
        context: &ForwardContext<'_>,
    ) -> Result<Tensor> {
        let norm = match self {
            Self::Batch(norm) => return norm.forward(x, residual, activation, context),
            Self::Group(norm) => norm,
        };
        let y = norm.forward(x)?;
        let y = match residual {
            Some(residual) => ops::sum(&y, residual)?,
            None => y,
        };
        match activation {
            Activation::Identity => Ok(y),
            Activation::Relu => ops::relu(&y),
        }
    }

    /// activation(norm(x) + residual) of [n, c, h, w] in a graph of ONNX.
    pub(in crate::models) fn onnx(
        &self,
        x: &str,
        residual: Option<&str>,
        activation: Activation,
        graph: &mut Graph<'_>,
    ) -> Result<String> {
        match self {
            Self::Batch(norm) => norm.onnx(x, residual, activation, graph),
            Self::Group(norm) => Ok(activated(norm.onnx(x, graph)?, residual, activation, graph)),
        }
    }
}
