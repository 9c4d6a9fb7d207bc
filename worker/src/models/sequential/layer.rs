//! The layers of a sequential model, and how they are applied in sequence.

use candle_core::{Result, Tensor};

use crate::models::ForwardContext;
use crate::models::layers::{BatchNorm, Conv, Dropout, GroupNorm, LayerNorm, Linear};
use lookbehind_kernels::{self as ops, Activation, Pool2d};

pub(super) enum Layer {
    Linear(Linear),
    Conv2d(Conv),
    BatchNorm(BatchNorm),
    GroupNorm(GroupNorm),
    LayerNorm(LayerNorm),
    MaxPool(Pool2d),
    AvgPool(Pool2d),
    /// [n, h, w, c] to [n, 1, 1, c].
    GlobalAvgPool,
    Relu,
    Elementwise(Elementwise),
    Dropout(Dropout),
    /// [n, h, w, c] to [n, c · h · w] in PyTorch's order.
    Flatten,
    Residual(Residual),
}

/// A function of each element other than ReLU.
#[derive(Clone, Copy)]
pub(super) enum Elementwise {
    Gelu,
    Silu,
    Tanh,
    Sigmoid,
}

impl Elementwise {
    fn forward(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gelu => ops::gelu(x),
            Self::Silu => ops::silu(x),
            Self::Tanh => ops::tanh(x),
            Self::Sigmoid => ops::sigmoid(x),
        }
    }
}

/// x ↦ body(x) + shortcut(x).
pub(super) struct Residual {
    pub(super) body: Vec<Layer>,
    /// Empty for x itself.
    pub(super) shortcut: Vec<Layer>,
}

/// Applies the layers to `x`. A ReLU is fused with the normalisation or the sum before it.
pub(super) fn run(layers: &[Layer], x: Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
    let (mut x, mut left) = (x, layers);
    while let [layer, rest @ ..] = left {
        (x, left) = match (layer, rest) {
            (Layer::BatchNorm(norm), [Layer::Relu, rest @ ..]) => {
                (norm.forward(&x, None, Activation::Relu, context)?, rest)
            }
            (Layer::Residual(block), [Layer::Relu, rest @ ..]) => {
                (block.forward(&x, Activation::Relu, context)?, rest)
            }
            _ => (layer.forward(&x, context)?, rest),
        };
    }
    Ok(x)
}

impl Layer {
    /// Whether the layer has weights.
    pub(super) fn is_trained(&self) -> bool {
        matches!(
            self,
            Self::Linear(_) | Self::Conv2d(_) | Self::BatchNorm(_) | Self::GroupNorm(_) | Self::LayerNorm(_)
        )
    }

    /// Whether its output is a tensor of its own when it follows `before`: fused and reshaping layers have none. The
    /// layers within a residual block are counted separately.
    pub(super) fn gives_its_own(&self, before: Option<&Self>) -> bool {
        match self {
            Self::Relu => !matches!(before, Some(Self::BatchNorm(_) | Self::Residual(_))),
            Self::Dropout(layer) => layer.is_active(),
            Self::Residual(block) => !matches!(block.body.last(), Some(Self::BatchNorm(_))),
            Self::Flatten => false,
            _ => true,
        }
    }

    fn forward(&self, x: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        match self {
            Self::Linear(layer) => layer.forward(x),
            Self::Conv2d(layer) => layer.forward(x),
            Self::BatchNorm(layer) => layer.forward(x, None, Activation::Identity, context),
            Self::GroupNorm(layer) => layer.forward(x),
            Self::LayerNorm(layer) => layer.forward(x),
            Self::MaxPool(pool) => ops::max_pool2d(x, *pool),
            Self::AvgPool(pool) => ops::avg_pool2d(x, *pool),
            Self::GlobalAvgPool => ops::global_avg_pool(x)?.unsqueeze(1)?.unsqueeze(1),
            Self::Relu => ops::relu(x),
            Self::Elementwise(function) => function.forward(x),
            Self::Dropout(layer) => layer.forward(x, context),
            Self::Flatten => flatten(x),
            Self::Residual(block) => block.forward(x, Activation::Identity, context),
        }
    }
}

fn flatten(x: &Tensor) -> Result<Tensor> {
    match *x.dims() {
        [_, 1, 1, _] | [_, _] => x.flatten_from(1),
        _ => ops::channels_first(x)?.flatten_from(1),
    }
}

impl Residual {
    pub(super) fn new(body: Vec<Layer>, shortcut: Vec<Layer>) -> Self {
        Self { body, shortcut }
    }

    /// activation(body(x) + shortcut(x)).
    fn forward(&self, x: &Tensor, activation: Activation, context: &ForwardContext<'_>) -> Result<Tensor> {
        let residual = run(&self.shortcut, x.clone(), context)?;
        if let [inner @ .., Layer::BatchNorm(last)] = self.body.as_slice() {
            let y = run(inner, x.clone(), context)?;
            return last.forward(&y, Some(&residual), activation, context);
        }
        let sum = ops::sum(&run(&self.body, x.clone(), context)?, &residual)?;
        match activation {
            Activation::Identity => Ok(sum),
            Activation::Relu => ops::relu(&sum),
        }
    }
}
