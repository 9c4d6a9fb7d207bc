//! A vision transformer in a graph of ONNX.

use candle_core::{Result, Tensor};

use super::{Attention, Block, Embedding, Mlp, Pooling, Vit};
use crate::onnx::{Attribute, Graph};

/// Places of queries, keys and values as matrices: [n, heads, t, d / heads].
const BY_HEAD: [i64; 4] = [0, 2, 1, 3];

impl Attention {
    /// Softmax(q kᵀ / √(d / heads)) v for each head.
    fn graph(&self, x: &str, dim: usize, graph: &mut Graph<'_>) -> Result<String> {
        let qkv = self.qkv.onnx_of_tokens(x, graph)?;
        let sizes = graph.integers(&[dim as i64; 3]);
        let parts = graph.outputs("Split", &[&qkv, &sizes], &[Attribute::Int("axis", 2)], 3);
        let of_head = dim / self.heads;
        let shape = graph.integers(&[0, 0, self.heads as i64, of_head as i64]);
        let mut matrices = Vec::new();
        for (part, places) in parts.iter().zip([BY_HEAD, [0, 2, 3, 1], BY_HEAD]) {
            let part = graph.node("Reshape", &[part, &shape], &[]);
            matrices.push(graph.node("Transpose", &[&part], &[Attribute::Ints("perm", &places)]));
        }
        let [q, k, v] = matrices.as_slice() else {
            candle_core::bail!("attention needs query, key and value")
        };
        let scale = graph.scalar(1.0 / (of_head as f32).sqrt());
        let scores = graph.node("MatMul", &[q, k], &[]);
        let scores = graph.node("Mul", &[&scores, &scale], &[]);
        let weights = graph.node("Softmax", &[&scores], &[Attribute::Int("axis", -1)]);
        let y = graph.node("MatMul", &[&weights, v], &[]);
        let y = graph.node("Transpose", &[&y], &[Attribute::Ints("perm", &BY_HEAD)]);
        let shape = graph.integers(&[0, 0, dim as i64]);
        let y = graph.node("Reshape", &[&y, &shape], &[]);
        self.proj.onnx_of_tokens(&y, graph)
    }
}

impl Mlp {
    fn graph(&self, x: &str, graph: &mut Graph<'_>) -> Result<String> {
        let x = self.fc1.onnx_of_tokens(x, graph)?;
        let x = graph.node("Gelu", &[&x], &[]);
        self.fc2.onnx_of_tokens(&x, graph)
    }
}

impl Block {
    fn graph(&self, x: &str, dim: usize, graph: &mut Graph<'_>) -> Result<String> {
        let y = self.norm1.onnx(x, graph)?;
        let y = self.attn.graph(&y, dim, graph)?;
        let x = graph.node("Add", &[x, &y], &[]);
        let y = self.norm2.onnx(&x, graph)?;
        let y = self.mlp.graph(&y, graph)?;
        Ok(graph.node("Add", &[&x, &y], &[]))
    }
}

impl Embedding {
    /// [n, c, h, w] to [n, t, d].
    fn graph(&self, x: &str, dim: usize, graph: &mut Graph<'_>) -> Result<String> {
        let x = self.proj.onnx(x, graph)?;
        let shape = graph.integers(&[0, dim as i64, -1]);
        let x = graph.node("Reshape", &[&x, &shape], &[]);
        let mut x = graph.node("Transpose", &[&x], &[Attribute::Ints("perm", &[0, 2, 1])]);
        if let Some(token) = &self.cls_token {
            let token = repeated(token, &x, dim, graph)?;
            x = graph.node("Concat", &[&token, &x], &[Attribute::Int("axis", 1)]);
        }
        let positions = graph.tensor(&self.pos_embed)?;
        Ok(graph.node("Add", &[&x, &positions], &[]))
    }
}

/// The token [1, 1, d] for each sample of x [n, .., d]: [n, 1, d].
fn repeated(token: &Tensor, x: &str, dim: usize, graph: &mut Graph<'_>) -> Result<String> {
    let token = graph.tensor(token)?;
    let samples = graph.node("Shape", &[x], &[Attribute::Int("start", 0), Attribute::Int("end", 1)]);
    let rest = graph.integers(&[1, dim as i64]);
    let shape = graph.node("Concat", &[&samples, &rest], &[Attribute::Int("axis", 0)]);
    Ok(graph.node("Expand", &[&token, &shape], &[]))
}

impl Vit {
    /// Adds the forward pass; returns the name of the logits.
    pub(super) fn graph(&self, graph: &mut Graph<'_>) -> Result<String> {
        let dim = self.embedding.pos_embed.dim(2)?;
        let x = graph.images();
        let mut x = self.embedding.graph(&x, dim, graph)?;
        for block in &self.blocks {
            x = block.graph(&x, dim, graph)?;
        }
        let x = match self.pooling {
            Pooling::Cls => {
                let first = graph.integers(&[0]);
                let x = graph.node("Gather", &[&x, &first], &[Attribute::Int("axis", 1)]); // [n, 1, d]
                graph.node("Flatten", &[&x], &[Attribute::Int("axis", 1)])
            }
            Pooling::Mean => {
                let axes = graph.integers(&[1]);
                graph.node("ReduceMean", &[&x, &axes], &[Attribute::Int("keepdims", 0)])
            }
        };
        let x = self.norm.onnx(&x, graph)?;
        self.head.onnx(&x, graph)
    }
}
