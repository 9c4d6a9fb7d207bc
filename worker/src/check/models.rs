//! Every kind of model on the GPU compared with the same model on the CPU: gradient and test loss at the same weights
//! and samples.

use candle_core::Error;
use lookbehind_common::job::{JobSpec, Precision, parse_toml};
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::Segment;
use lookbehind_common::test_set::TestSet;

use super::Check;
use crate::compute::{Backend, CandleBackend, Request, RequestKind, compute_unwatched};
use crate::data::{Cancellation, DataEnvironment};
use crate::device::DeviceChoice;
use crate::registry::Registry;

/// Names of the models, and what their jobs have under `[model]`.
const MODELS: [(&str, &str); 10] = [
    ("perceptron", "kind = \"mlp\"\nhidden = [24, 17]"),
    ("residual network", "kind = \"resnet\"\nblocks = [1, 2]\nwidth = 8"),
    (
        "residual network with bottlenecks",
        "kind = \"resnet\"\nblock = \"bottleneck\"\nblocks = [1, 1]\nwidth = 8",
    ),
    (
        "residual network with group norm",
        "kind = \"resnet\"\nblocks = [1, 1]\nwidth = 8\nnorm = \"group\"\ngroups = 4",
    ),
    ("residual network for ImageNet", "kind = \"resnet\"\nblocks = [1]\nwidth = 8\nstem = \"imagenet\""),
    ("wide residual network with dropout", "kind = \"wide_resnet\"\ndepth = 10\nwidth = 1\ndropout = 0.3"),
    (
        "vision transformer with a class token",
        "kind = \"vit\"\npatch = 2\ndim = 24\ndepth = 2\nheads = 3\ndropout = 0.1",
    ),
    (
        "vision transformer with the mean",
        "kind = \"vit\"\npatch = 2\ndim = 24\ndepth = 2\nheads = 3\npooling = \"mean\"",
    ),
    (
        "sequential with residual blocks",
        "kind = \"sequential\"\nlayers = [\n\
         { kind = \"residual\", body = [{ kind = \"conv2d\", out_channels = 1, kernel_size = 3, padding = 1 }] },\n\
         { kind = \"conv2d\", out_channels = 8, kernel_size = 3, padding = 2, dilation = 2 }, { kind = \"silu\" },\n\
         { kind = \"max_pool\", kernel_size = 2 },\n\
         { kind = \"residual\", body = [{ kind = \"conv2d\", out_channels = 8, kernel_size = 3, padding = 1, groups = 4 },\n\
         { kind = \"batch_norm\" }] }, { kind = \"relu\" }, { kind = \"avg_pool\", kernel_size = 2 },\n\
         { kind = \"flatten\" }, { kind = \"layer_norm\" }, { kind = \"linear\" }]",
    ),
    (
        "sequential of convolutions alone",
        "kind = \"sequential\"\nlayers = [{ kind = \"conv2d\", out_channels = 12, kernel_size = 3 }, { kind = \"gelu\" },\n\
         { kind = \"conv2d\", out_channels = 10, kernel_size = 6 }, { kind = \"flatten\" }]",
    ),
];

/// Samples in each shard.
const SAMPLES: usize = 16;

/// Compares all models on a GPU; if a model cannot be computed at all, the error names it.
pub(super) fn all(ordinal: usize) -> candle_core::Result<Vec<Check>> {
    let mut checks = Vec::new();
    for (name, model) in MODELS {
        for precision in [Precision::F32, Precision::Bf16] {
            let compared = compare(model, precision, ordinal);
            let compared = compared.map_err(|error| Error::Msg(format!("{name} {precision:?}: {error}")))?;
            checks.extend(compared.into_iter().map(|(what, error)| {
                let (name, limit) = (format!("{name} {precision:?}, {what}"), limit(precision));
                Check { name, error, limit, passed: error <= limit }
            }));
        }
    }
    Ok(checks)
}

/// How far the two may differ, relative to the CPU's result: rounding errors add up over a model's layers, and where
/// rounding moves an activation across the zero of a rectifier, its whole gradient changes.
fn limit(precision: Precision) -> f64 {
    if precision == Precision::F32 { 1e-3 } else { 0.25 }
}

/// Differences of the gradient, of the batch statistics if the model has them, and of the test loss.
fn compare(
    model: &str,
    precision: Precision,
    ordinal: usize,
) -> Result<Vec<(&'static str, f64)>, Box<dyn std::error::Error>> {
    let precision = format!("{precision:?}").to_lowercase();
    let text = format!(
        "name = \"check\"\n[model]\n{model}\n[data]\nkind = \"digits\"\n[train]\nsteps = 1\nbatch_size = {SAMPLES}\n\
         shards = 1\nprecision = \"{precision}\"\n[optimizer]\nmethod = \"sgd\"\n[optimizer.base]\nkind = \"sgd\"\nlr = 0.1\n"
    );
    let spec = parse_toml(&text)?.validate()?;
    let [found, found_test] = on(&DeviceChoice::Cuda(vec![ordinal]), &spec)?;
    let [expected, expected_test] = on(&DeviceChoice::Cpu, &spec)?;
    let loss = (found_test.sums.loss - expected_test.sums.loss).abs() / expected_test.sums.loss.abs();
    let mut differences =
        vec![("gradient", distance(&found.gradient, &expected.gradient)), ("test loss", loss)];
    if !expected.statistics.is_empty() {
        differences.push(("batch statistics", distance(&found.statistics, &expected.statistics)));
    }
    Ok(differences)
}

/// What a device computes for a shard of the first batch, and for the test split.
fn on(device: &DeviceChoice, spec: &JobSpec) -> Result<[Partial; 2], Box<dyn std::error::Error>> {
    let environment = DataEnvironment::local(".".into(), 8 << 30);
    let mut job = CandleBackend::new(Registry::builtin(), environment)
        .on(device)?
        .prepare(spec, &Cancellation::default())?;
    let initial = job.initial_state()?;
    job.load(initial.values())?;
    let mut whole = |kind| {
        let request = Request { kind, epoch: 0, batch: 0, shards: 1 };
        compute_unwatched(job.as_mut(), &request, Segment::root(1))
    };
    Ok([whole(RequestKind::Gradient)?, whole(RequestKind::Test(TestSet::Test))?])
}

/// ‖found − expected‖ / ‖expected‖.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let squares = |elements: &mut dyn Iterator<Item = f64>| {
        elements.map(|element| element * element).sum::<f64>().sqrt()
    };
    let apart = found.iter().zip(expected).map(|(found, expected)| f64::from(*found) - f64::from(*expected));
    let (apart, size) =
        (squares(&mut apart.into_iter()), squares(&mut expected.iter().copied().map(f64::from)));
    if found.len() != expected.len() {
        return f64::NAN;
    }
    if size == 0.0 { apart } else { apart / size }
}
