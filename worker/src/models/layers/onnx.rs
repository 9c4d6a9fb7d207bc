//! Operations without weights in a graph of ONNX, where images are channels first.

use crate::onnx::{Attribute, Graph};
use lookbehind_kernels::{Activation, Pool2d};

/// activation(x + residual).
pub(in crate::models) fn activated(
    x: String,
    residual: Option<&str>,
    activation: Activation,
    graph: &mut Graph<'_>,
) -> String {
    let sum = match residual {
        Some(residual) => graph.node("Add", &[&x, residual], &[]),
        None => x,
    };
    match activation {
        Activation::Identity => sum,
        Activation::Relu => graph.node("Relu", &[&sum], &[]),
    }
}

/// The maximum of each window and channel.
pub(in crate::models) fn max_pool(x: &str, pool: Pool2d, graph: &mut Graph<'_>) -> String {
    let [size, stride, padding] = extents(pool);
    graph.node("MaxPool", &[x], &window(&size, &stride, &padding))
}

/// The mean of each window and channel; the padding's zeros count.
pub(in crate::models) fn avg_pool(x: &str, pool: Pool2d, graph: &mut Graph<'_>) -> String {
    let [size, stride, padding] = extents(pool);
    let [size, stride, padding] = window(&size, &stride, &padding);
    graph.node("AveragePool", &[x], &[size, stride, padding, Attribute::Int("count_include_pad", 1)])
}

/// The mean over all pixels of [n, c, h, w]: [n, c].
pub(in crate::models) fn mean_of_pixels(x: &str, graph: &mut Graph<'_>) -> String {
    let mean = graph.node("GlobalAveragePool", &[x], &[]);
    graph.node("Flatten", &[&mean], &[Attribute::Int("axis", 1)])
}

fn extents(pool: Pool2d) -> [[i64; 4]; 3] {
    [pool.size, pool.stride, pool.padding].map(|pixels| [pixels as i64; 4])
}

fn window<'a>(size: &'a [i64; 4], stride: &'a [i64; 4], padding: &'a [i64; 4]) -> [Attribute<'a>; 3] {
    [
        Attribute::Ints("kernel_shape", &size[..2]),
        Attribute::Ints("strides", &stride[..2]),
        Attribute::Ints("pads", padding),
    ]
}
