//! The vision transformer (Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021, arXiv 2010.11929), for small
//! images: pre-normalisation blocks over the embeddings of patches.
//!
//! Names and layouts are those of timm's `VisionTransformer`: `cls_token` [1, 1, d], `pos_embed` [1, tokens, d],
//! `patch_embed.proj`, `blocks.N.{norm1,attn.qkv,attn.proj,norm2,mlp.fc1,mlp.fc2}`, `norm`, `head`. With `pooling =
//! "mean"` it is the variant with `class_token=False, global_pool="avg"`: no `cls_token`, and `fc_norm` after the mean
//! instead of `norm` before it. Epsilon is 1e-6, as in timm.

mod onnx;

use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::layers::{
    ActivationMemory, Conv, ConvSpec, Dropout, Dropouts, ImageShape, LayerNorm, Linear, check_dropout,
};
use super::{Built, ForwardContext, Model};
use crate::data::DataDescription;
use crate::onnx::Graph;
use lookbehind_kernels as ops;

const EPS: f64 = 1e-6;
/// Weights and position embeddings are drawn from N(0, 0.02²), biases and the class token start at 0. (The paper's code
/// and timm's truncate the normal distribution at ±2, which is 100 standard deviations and makes no difference.)
const WEIGHTS: [Init; 2] = [Init::Randn { mean: 0.0, stdev: 0.02 }, Init::Const(0.0)];
/// Largest embedding dimension, most blocks, most tokens.
const MAX_DIM: usize = 1 << 14;
const MAX_DEPTH: usize = 1000;
const MAX_TOKENS: usize = 1 << 14;

/// The parameters under `[model]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VitParameters {
    /// Height and width of a patch.
    patch: usize,
    /// Embedding dimension d of a token.
    dim: usize,
    /// Number of blocks.
    depth: usize,
    /// Number of heads of each attention.
    heads: usize,
    /// Hidden units of each block's perceptron; 4 d if absent.
    mlp_dim: Option<usize>,
    #[serde(default)]
    dropout: f32,
    #[serde(default)]
    pooling: Pooling,
}

/// Input of the classifier, from the last block's tokens.
#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Pooling {
    /// The class token.
    #[default]
    Cls,
    /// The mean of all tokens.
    Mean,
}

impl VitParameters {
    fn mlp_dim(&self) -> usize {
        self.mlp_dim.unwrap_or(self.dim.saturating_mul(4))
    }

    /// The activation memory of the blocks. For each token, `dim` elements for each of: two normalisations, query, key
    /// and value together and separately, attention and its projection, the perceptron's output, and two sums. Then the
    /// hidden units before and after GELU.
    fn activation_memory(&self, image: ImageShape) -> ActivationMemory {
        let tokens = (image.height / self.patch) * (image.width / self.patch);
        let mut activation_memory = ActivationMemory::default();
        (0..self.depth).for_each(|_| activation_memory.add(tokens, 13 * self.dim + 2 * self.mlp_dim()));
        activation_memory
    }

    fn check(&self, image: ImageShape) -> std::result::Result<(), JobError> {
        check_dropout("model.dropout", self.dropout)?;
        for (key, found, most) in [
            ("patch", self.patch, image.height.min(image.width)),
            ("dim", self.dim, MAX_DIM),
            ("depth", self.depth, MAX_DEPTH),
            ("heads", self.heads, self.dim),
            ("mlp_dim", self.mlp_dim(), 8 * MAX_DIM),
        ] {
            if !(1..=most).contains(&found) {
                let problem = format!("expected 1 to {most}, found {found}");
                return Err(JobError::new(&format!("model.{key}"), &problem));
            }
        }
        self.check_divisors(image)
    }

    fn check_divisors(&self, image: ImageShape) -> std::result::Result<(), JobError> {
        let ImageShape { height, width, .. } = image;
        if !(height.is_multiple_of(self.patch) && width.is_multiple_of(self.patch)) {
            let problem =
                format!("expected a divisor of the image's {height} x {width}, found {}", self.patch);
            return Err(JobError::new("model.patch", &problem));
        }
        if !self.dim.is_multiple_of(self.heads) {
            let problem = format!("expected a divisor of dim = {}, found {}", self.dim, self.heads);
            return Err(JobError::new("model.heads", &problem));
        }
        let tokens = (height / self.patch) * (width / self.patch);
        if tokens <= MAX_TOKENS {
            return Ok(());
        }
        let problem = format!("expected at most {MAX_TOKENS} patches, found {tokens}");
        Err(JobError::new("model.patch", &problem))
    }
}

/// Multi-head self-attention (Vaswani et al., NeurIPS 2017) with the three projections in one matrix.
struct Attention {
    heads: usize,
    qkv: Linear,
    proj: Linear,
    dropout: Dropout,
}

impl Attention {
    fn new(dim: usize, heads: usize, dropouts: &mut Dropouts, builder: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            heads,
            qkv: Linear::with_init(dim, 3 * dim, WEIGHTS, &builder.pp("qkv"))?,
            proj: Linear::with_init(dim, dim, WEIGHTS, &builder.pp("proj"))?,
            dropout: dropouts.layer(),
        })
    }

    fn forward(&self, x: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let qkv = self.qkv.forward(x)?.chunk(3, 2)?; // three times [n, t, d]
        let [q, k, v] = qkv.as_slice() else { candle_core::bail!("attention needs query, key and value") };
        let y = ops::attention(&q.contiguous()?, &k.contiguous()?, &v.contiguous()?, self.heads)?;
        self.dropout.forward(&self.proj.forward(&y)?, context) // [n, t, d]
    }
}

struct Mlp {
    fc1: Linear,
    fc2: Linear,
    dropouts: [Dropout; 2],
}

impl Mlp {
    fn new(dim: usize, hidden: usize, dropouts: &mut Dropouts, builder: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            fc1: Linear::with_init(dim, hidden, WEIGHTS, &builder.pp("fc1"))?,
            fc2: Linear::with_init(hidden, dim, WEIGHTS, &builder.pp("fc2"))?,
            dropouts: [dropouts.layer(), dropouts.layer()],
        })
    }

    fn forward(&self, x: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let [first, second] = &self.dropouts;
        let x = first.forward(&ops::gelu(&self.fc1.forward(x)?)?, context)?; // [n, t, hidden]
        second.forward(&self.fc2.forward(&x)?, context) // [n, t, d]
    }
}

/// x + attention(norm(x)), then x + mlp(norm(x)): the paper's equations 2 and 3.
struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    fn new(parameters: &VitParameters, dropouts: &mut Dropouts, builder: &VarBuilder<'_>) -> Result<Self> {
        let dim = parameters.dim;
        Ok(Self {
            norm1: LayerNorm::with_eps(dim, EPS, &builder.pp("norm1"))?,
            attn: Attention::new(dim, parameters.heads, dropouts, &builder.pp("attn"))?,
            norm2: LayerNorm::with_eps(dim, EPS, &builder.pp("norm2"))?,
            mlp: Mlp::new(dim, parameters.mlp_dim(), dropouts, &builder.pp("mlp"))?,
        })
    }

    fn forward(&self, x: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let x = ops::sum(x, &self.attn.forward(&self.norm1.forward(x)?, context)?)?;
        ops::sum(&x, &self.mlp.forward(&self.norm2.forward(&x)?, context)?)
    }
}

/// Patch embeddings, preceded by the class token if there is one, plus positions: the paper's equation 1.
struct Embedding {
    cls_token: Option<Tensor>,
    pos_embed: Tensor,
    proj: Conv,
    dropout: Dropout,
}

impl Embedding {
    fn new(
        parameters: &VitParameters,
        image: ImageShape,
        dropouts: &mut Dropouts,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let &VitParameters { patch, dim, pooling, .. } = parameters;
        let [weights, zeros] = WEIGHTS;
        let cls_token = (pooling == Pooling::Cls)
            .then(|| builder.get_with_hints((1, 1, dim), "cls_token", zeros))
            .transpose()?;
        let tokens = (image.height / patch) * (image.width / patch) + usize::from(cls_token.is_some());
        let pos_embed = builder.get_with_hints((1, tokens, dim), "pos_embed", weights)?;
        let window = ops::Conv2d { stride: patch, ..ops::Conv2d::default() };
        let proj =
            ConvSpec { inputs: image.channels, outputs: dim, size: patch, options: window, bias: true };
        let proj = Conv::new(proj, &builder.pp("patch_embed").pp("proj"))?;
        Ok(Self { cls_token, pos_embed, proj, dropout: dropouts.layer() })
    }

    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let x = ImageShape::channels_last(inputs)?; // [n, h, w, c]
        // Class token and positions are f32, whatever the dtype of the convolution's output.
        let x = self.proj.forward(&x)?.to_dtype(DType::F32)?.flatten(1, 2)?; // [n, patches, d]
        let (n, _, dim) = x.dims3()?;
        let x = match &self.cls_token {
            Some(token) => Tensor::cat(&[&token.broadcast_as((n, 1, dim))?, &x], 1)?,
            None => x,
        };
        let shape = x.shape().clone(); // [n, t, d]
        let x = ops::add_bias(&x.flatten_from(1)?, &self.pos_embed.flatten_all()?)?.reshape(shape)?;
        self.dropout.forward(&x, context)
    }
}

struct Vit {
    embedding: Embedding,
    blocks: Vec<Block>,
    pooling: Pooling,
    norm: LayerNorm,
    head: Linear,
    activation_memory: ActivationMemory,
}

/// Builds a vision transformer for a data set of images.
///
/// # Errors
/// If a parameter is wrong or the inputs are not images.
pub fn vit(
    parameters: &Parameters,
    data: &DataDescription,
    builder: VarBuilder<'_>,
) -> Built<Box<dyn Model>> {
    let parameters: VitParameters = parse_parameters("model", parameters)?;
    let image = ImageShape::of("vit", data)?;
    parameters.check(image)?;
    let VitParameters { dim, depth, dropout, pooling, .. } = parameters;
    let mut dropouts = Dropouts::new(dropout);
    let embedding = Embedding::new(&parameters, image, &mut dropouts, &builder)?;
    let blocks = (0..depth)
        .map(|number| Block::new(&parameters, &mut dropouts, &builder.pp("blocks").pp(number)))
        .collect::<Result<_>>()?;
    let norm = builder.pp(if pooling == Pooling::Cls { "norm" } else { "fc_norm" });
    let norm = LayerNorm::with_eps(dim, EPS, &norm)?;
    let head = Linear::with_init(dim, data.classes, WEIGHTS, &builder.pp("head"))?;
    let activation_memory = parameters.activation_memory(image);
    Ok(Box::new(Vit { embedding, blocks, pooling, norm, head, activation_memory }))
}

impl Model for Vit {
    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let mut x = self.embedding.forward(inputs, context)?; // [n, t, d]
        for block in &self.blocks {
            x = block.forward(&x, context)?;
        }
        let x = match self.pooling {
            Pooling::Cls => x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?,
            Pooling::Mean => ops::global_avg_pool(&x)?,
        }; // [n, d]
        self.head.forward(&self.norm.forward(&x)?) // [n, classes]
    }

    fn onnx(&self, graph: &mut Graph<'_>) -> Result<Option<String>> {
        self.graph(graph).map(Some)
    }

    fn elements_per_sample(&self) -> u64 {
        self.activation_memory.elements()
    }

    fn follows_precision(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
