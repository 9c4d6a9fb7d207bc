//! Small data sets, models and jobs for the tests of this folder.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Device, Tensor};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::Segment;
use lookbehind_common::test_set::TestSet;
use tempfile::TempDir;

use super::{
    Backend, CandleBackend, ComputeError, PreparedJob, Request, RequestKind, Watch, compute_unwatched,
};
use crate::data::Cancellation;
use crate::models::{ForwardContext, Model};
use crate::registry::Registry;
use crate::test_support::{data_folder, job};

pub(super) const FEATURES: usize = 3;
pub(super) const CLASSES: usize = 4;
pub(super) const TRAIN: usize = 22;
pub(super) const TEST: usize = 9;
pub(super) const FILES: &str = "kind = \"safetensors\"\ntrain = \"train.st\"\ntest = \"test.st\"";
pub(super) const MLP: &str = "kind = \"mlp\"\nhidden = [5]";

pub(super) fn features(sample: usize) -> Vec<f32> {
    (0..FEATURES).map(|feature| ((sample * 7 + feature * 5) % 11) as f32 / 5.0 - 1.0).collect()
}

pub(super) fn target(sample: usize) -> i64 {
    ((sample * 3 + sample / 4) % CLASSES) as i64
}

/// A backend whose data folder holds 22 samples for training and 9 others for testing.
pub(super) fn backend() -> (TempDir, CandleBackend) {
    let (folder, environment) = data_folder();
    for (name, samples) in [("train.st", 0..TRAIN), ("test.st", TRAIN..TRAIN + TEST)] {
        let inputs: Vec<f32> = samples.clone().flat_map(features).collect();
        let targets: Vec<i64> = samples.clone().map(target).collect();
        let inputs = Tensor::from_vec(inputs, (samples.len(), FEATURES), &Device::Cpu).unwrap();
        let targets = Tensor::from_vec(targets, samples.len(), &Device::Cpu).unwrap();
        let tensors = HashMap::from([("inputs", inputs), ("targets", targets)]);
        candle_core::safetensors::save(&tensors, folder.path().join(name)).unwrap();
    }
    let registry = Registry::builtin()
        .with_model("centred", |_, _, builder| {
            let scale = builder.get(FEATURES, "scale")?;
            let mean = builder.pp("centre").get(FEATURES, "running_mean")?;
            builder.pp("centre").get(FEATURES, "running_var")?;
            Ok(Box::new(Centred { scale, mean }))
        })
        .with_model("dropout", |_, data, builder| {
            let weight = builder.get((data.input_size(), data.classes), "weight")?;
            Ok(Box::new(Dropout { weight }))
        })
        .with_model("crooked", |_, data, builder| {
            let weight = builder.get((data.input_size(), data.classes + 1), "weight")?;
            Ok(Box::new(Dropout { weight }))
        });
    (folder, CandleBackend::new(registry, environment))
}

/// Scales and centres its inputs as a normalisation layer would, with a constant as the fourth class.
struct Centred {
    scale: Tensor,
    mean: Tensor,
}

impl Model for Centred {
    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
        let x = inputs.broadcast_mul(&self.scale)?;
        let rows = x.dim(0)?;
        let centred = if context.uses_batch_statistics() {
            if rows < 2 {
                candle_core::bail!("a variance needs 2 values per channel, found {rows}");
            }
            let mean = x.mean(0)?;
            let centred = x.broadcast_sub(&mean)?;
            context.report("centre.running_mean", &mean);
            context.report("centre.running_var", &(centred.sqr()?.sum(0)? / (rows - 1) as f64)?);
            centred
        } else {
            x.broadcast_sub(&self.mean)?
        };
        Tensor::cat(&[&centred, &centred.zeros_like()?.narrow(1, 0, 1)?], 1)
    }
}

/// A linear map of its inputs, half of which are dropped.
struct Dropout {
    weight: Tensor,
}

impl Model for Dropout {
    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
        context.dropout(0, 0.5, inputs)?.matmul(&self.weight)
    }
}

pub(super) fn prepare(model: &str, train: &str) -> (TempDir, Box<dyn PreparedJob>) {
    let (folder, backend) = backend();
    let job = backend
        .prepare(&job(model, &format!("{FILES}\nshuffle = false"), train), &Cancellation::default())
        .unwrap();
    (folder, job)
}

/// Prepares a job and loads its initial weights.
pub(super) fn loaded(model: &str, train: &str) -> (TempDir, Box<dyn PreparedJob>, ModelState<FlatBuffer>) {
    let (folder, mut job) = prepare(model, train);
    let initial = job.initial_state().unwrap();
    job.load(initial.values()).unwrap();
    (folder, job, initial)
}

pub(super) fn gradient(batch: u64, shards: u32) -> Request {
    Request { kind: RequestKind::Gradient, epoch: 0, batch, shards }
}

pub(super) fn test_request(shards: u32) -> Request {
    Request { kind: RequestKind::Test(TestSet::Test), epoch: 0, batch: 0, shards }
}

/// A shard's partial.
pub(super) fn shard(
    job: &mut dyn PreparedJob,
    request: &Request,
    shard: u32,
) -> Result<Partial, ComputeError> {
    compute_unwatched(job, request, Segment { first: shard, end: shard + 1 })
}

/// A caller whose request is superseded once it was asked a number of times.
pub(super) struct Patient {
    pub(super) times: usize,
    pub(super) asked: AtomicUsize,
}

impl Watch for Patient {
    fn advance(&self) {}

    fn is_superseded(&self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed) >= self.times
    }
}
