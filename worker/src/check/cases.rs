//! The kernels that are compared, with shapes that cover their edge cases.

use candle_core::{Result, Tensor};
use lookbehind_common::job::Precision;

use lookbehind_kernels::{self as ops, Activation, Affine, Conv2d, Pool2d, definitions};

type Function = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync>;

const EPS: f64 = 1e-5;

/// An operation and the shapes of its arguments.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) shapes: Vec<Vec<usize>>,
    pub(super) kernel: Function,
    pub(super) definition: Function,
    kind: Kind,
}

/// How a job's precision affects an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its matrix products are computed in that precision.
    MatrixProducts,
    /// It has no matrix products; its first N arguments may be bfloat16, and its results are bfloat16 then.
    Activations(usize),
    /// Its results depend on the side of a threshold on which a value lies, and rounding may move a value to the other
    /// side.
    Threshold,
}

impl Case {
    fn new(
        name: impl Into<String>,
        shapes: &[&[usize]],
        kind: Kind,
        kernel: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
        definition: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        let shapes = shapes.iter().map(|shape| shape.to_vec()).collect();
        Self { name: name.into(), shapes, kernel: Box::new(kernel), definition: Box::new(definition), kind }
    }

    /// The precisions that make a difference to this operation.
    pub(super) fn precisions(&self) -> &'static [Precision] {
        match self.kind {
            Kind::MatrixProducts => &[Precision::F32, Precision::Tf32, Precision::Bf16],
            Kind::Activations(_) => &[Precision::F32, Precision::Bf16],
            Kind::Threshold => &[Precision::F32],
        }
    }

    /// Whether an argument is bfloat16 when the precision is.
    pub(super) fn keeps_bf16(&self, argument: usize) -> bool {
        matches!(self.kind, Kind::Activations(first) if argument < first)
    }

    /// Largest error that rounding may cause, relative to the largest value: a few units in the last place of the type
    /// that operands are rounded to.
    pub(super) fn limit(&self, precision: Precision) -> f64 {
        match precision {
            Precision::F32 => 64.0 * f64::from(f32::EPSILON),
            Precision::Tf32 => 4.0 * 2_f64.powi(-11),
            Precision::Bf16 => 4.0 * 2_f64.powi(-8),
        }
    }
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    let mut cases = convolutions();
    cases.extend(matrix_products());
    cases.extend(normalisations());
    cases.extend(pools());
    cases.extend(elementwise());
    cases
}

fn convolutions() -> Vec<Case> {
    let case = |input: [usize; 4], weight: [usize; 4], [stride, padding, dilation, groups]: [usize; 4]| {
        let options = Conv2d { stride, padding, dilation, groups };
        let [_, height, width, channels] = input;
        let [outputs, _, down, across] = weight;
        let name = format!(
            "conv2d {down}x{across} of {height}x{width}, {channels} to {outputs} channels, stride {stride}, padding \
             {padding}, dilation {dilation}, groups {groups}"
        );
        let kernel = move |x: &[Tensor]| ops::conv2d(&x[0], &x[1], options);
        Case::new(name, &[&input, &weight], Kind::MatrixProducts, kernel, move |x| {
            definitions::conv2d(&x[0], &x[1], options)
        })
    };
    vec![
        case([4, 8, 8, 16], [32, 16, 3, 3], [1, 1, 1, 1]),
        case([3, 9, 7, 64], [64, 64, 3, 3], [1, 1, 1, 1]),
        case([4, 9, 8, 16], [24, 16, 3, 3], [2, 1, 1, 1]),
        case([4, 8, 8, 16], [32, 16, 1, 1], [2, 0, 1, 1]),
        case([2, 16, 16, 3], [16, 3, 3, 3], [1, 1, 1, 1]),
        case([2, 17, 15, 3], [16, 3, 7, 7], [2, 3, 1, 1]),
        case([2, 12, 12, 16], [16, 8, 3, 3], [1, 2, 2, 2]),
        case([2, 16, 16, 3], [32, 3, 4, 4], [4, 0, 1, 1]),
    ]
}

fn matrix_products() -> Vec<Case> {
    let linear = |rows: usize, inputs: usize, outputs: usize| {
        let name = format!("linear {rows}x{inputs} to {outputs}");
        let kernel = |x: &[Tensor]| ops::linear(&x[0], &x[1], &x[2]);
        Case::new(
            name,
            &[&[rows, inputs], &[outputs, inputs], &[outputs]],
            Kind::MatrixProducts,
            kernel,
            |x| definitions::linear(&x[0], &x[1], &x[2]),
        )
    };
    let attention = |tokens: usize, channels: usize, heads: usize| {
        let name = format!("attention of {tokens} tokens, {channels} channels, {heads} heads");
        let kernel = move |x: &[Tensor]| ops::attention(&x[0], &x[1], &x[2], heads);
        let shape: &[usize] = &[2, tokens, channels];
        Case::new(name, &[shape; 3], Kind::MatrixProducts, kernel, move |x| {
            definitions::attention([&x[0], &x[1], &x[2]], heads)
        })
    };
    vec![linear(7, 33, 10), linear(128, 64, 128), attention(5, 12, 3), attention(65, 64, 4)]
}

fn affine<'a>(weight: &'a Tensor, bias: &'a Tensor) -> Affine<'a> {
    Affine { weight, bias, eps: EPS }
}

fn normalisations() -> Vec<Case> {
    let batch = |shapes: &[&[usize]], kind: Kind, activation: Activation| {
        let name = format!("batch_norm of {:?} with {} tensors, {activation:?}", shapes[0], shapes.len());
        let kernel = move |x: &[Tensor]| {
            Ok(ops::batch_norm(&x[0], &affine(&x[1], &x[2]), x.get(3), activation)?.output)
        };
        Case::new(name, shapes, kind, kernel, move |x| definitions::batch_norm(x, EPS, activation))
    };
    let group = |shape: &[usize], groups: usize| {
        let channels = [shape[shape.len() - 1]];
        let kernel = move |x: &[Tensor]| ops::group_norm(&x[0], groups, &affine(&x[1], &x[2]));
        let name = format!("group_norm of {shape:?} in {groups} groups");
        Case::new(name, &[shape, &channels, &channels], Kind::Activations(1), kernel, move |x| {
            definitions::group_norm(&x[0], groups, [&x[1], &x[2]], EPS)
        })
    };
    let layer = Case::new(
        "layer_norm of [2, 5, 192]",
        &[&[2, 5, 192], &[192], &[192]],
        Kind::Activations(1),
        |x| ops::layer_norm(&x[0], &affine(&x[1], &x[2])),
        |x| definitions::layer_norm(&x[0], [&x[1], &x[2]], EPS),
    );
    let shape: &[usize] = &[8, 5, 5, 48];
    vec![
        batch(&[shape, &[48], &[48]], Kind::Activations(1), Activation::Identity),
        batch(&[shape, &[48], &[48]], Kind::Threshold, Activation::Relu),
        batch(&[shape, &[48], &[48], shape], Kind::Threshold, Activation::Relu),
        batch(&[&[40_000, 3], &[3], &[3]], Kind::Activations(1), Activation::Identity),
        group(&[2, 3, 4, 6], 3),
        group(&[3, 16, 16, 32], 8),
        layer,
    ]
}

fn pools() -> Vec<Case> {
    let mut cases = vec![Case::new(
        "global_avg_pool",
        &[&[3, 4, 5, 6]],
        Kind::Activations(1),
        |x| ops::global_avg_pool(&x[0]),
        |x| definitions::global_avg_pool(&x[0]),
    )];
    for (size, stride, padding) in [(2, 2, 0), (3, 1, 0), (3, 2, 1)] {
        let pool = Pool2d { size, stride, padding };
        let named = |kind: &str| format!("{kind}_pool2d {size}x{size}, stride {stride}, padding {padding}");
        let average = move |x: &[Tensor]| ops::avg_pool2d(&x[0], pool);
        cases.push(Case::new(named("avg"), &[&[2, 7, 6, 5]], Kind::Activations(1), average, move |x| {
            definitions::avg_pool2d(&x[0], pool)
        }));
        let greatest = move |x: &[Tensor]| ops::max_pool2d(&x[0], pool);
        cases.push(Case::new(named("max"), &[&[2, 7, 6, 5]], Kind::Threshold, greatest, move |x| {
            definitions::max_pool2d(&x[0], pool)
        }));
    }
    cases
}

fn elementwise() -> Vec<Case> {
    let one: [&[usize]; 1] = [&[3, 50, 7]];
    let two = [one[0]; 2];
    vec![
        Case::new("relu", &one, Kind::Activations(1), |x| ops::relu(&x[0]), |x| x[0].relu()),
        Case::new("gelu", &one, Kind::Activations(1), |x| ops::gelu(&x[0]), |x| definitions::gelu(&x[0])),
        Case::new("silu", &one, Kind::Activations(1), |x| ops::silu(&x[0]), |x| definitions::silu(&x[0])),
        Case::new("tanh", &one, Kind::Activations(1), |x| ops::tanh(&x[0]), |x| x[0].tanh()),
        Case::new(
            "sigmoid",
            &one,
            Kind::Activations(1),
            |x| ops::sigmoid(&x[0]),
            |x| definitions::sigmoid(&x[0]),
        ),
        Case::new("sum", &two, Kind::Activations(2), |x| ops::sum(&x[0], &x[1]), |x| &x[0] + &x[1]),
        Case::new(
            "add_bias",
            &[&[300, 7], &[7]],
            Kind::Activations(1),
            |x| ops::add_bias(&x[0], &x[1]),
            |x| x[0].broadcast_add(&x[1]),
        ),
    ]
}
