//! A backend whose partials cost next to nothing, so that the measured time is that of the service itself.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::{FlatBuffer, FlatBufferPool};
use lookbehind_common::job::{JobDescription, JobSpec, Precision, parse_parameters};
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::{Visit, partial_lengths};
use lookbehind_common::partial::{Partial, Sums, VisitSums};
use lookbehind_common::reduction::{Segment, effective_shards, shard_range};
use lookbehind_worker::compute::{
    Backend, ComputeError, PrepareError, PreparedJob, Request, Rounding, Stopped, Watch, reduce_shards,
};
use lookbehind_worker::data::Cancellation;

/// Supports the model kind `constant` with a parameter `parameters`, its number of elements. All elements of every
/// gradient have the same value.
#[derive(Debug, Default)]
pub struct ConstantBackend {
    /// How long it waits for each shard, as if it computed.
    pub per_shard: Duration,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    parameters: usize,
}

/// Value of all elements of every gradient.
const GRADIENT: f32 = 1e-3;
/// Gradients that a worker keeps ready.
const READY: usize = 4;

impl Backend for ConstantBackend {
    fn device(&self) -> String {
        "constant".into()
    }

    fn class_description(&self, _precision: Precision) -> String {
        "constant".into()
    }

    fn prepare(
        &self,
        spec: &JobSpec,
        _cancellation: &Cancellation,
    ) -> Result<Box<dyn PreparedJob>, PrepareError> {
        let refused = |reason: String| PrepareError::Job(reason);
        let model = parse_parameters("model", &spec.model.parameters);
        let Parameters { parameters } = model.map_err(|error| refused(error.to_string()))?;
        let tensor =
            TensorSpec { name: "weight".into(), shape: vec![parameters], kind: TensorKind::Parameter };
        let layout = Layout::new([tensor]).map_err(|error| refused(error.to_string()))?;
        let samples = spec.train.batch_size;
        let description = JobDescription {
            layout,
            train_samples: samples,
            test_samples: 0,
            further_tests: lookbehind_common::test_set::FurtherTests::default(),
            data_fingerprint: Digest::of(b"constant"),
            class_names: Vec::new(),
            data_report: Vec::new(),
        };
        let rounding = Rounding::of(spec, &description.layout);
        let gradients = FlatBufferPool::new(READY);
        let visits = Visit::of(&spec.optimizer.method).is_some();
        let elements = partial_lengths(&spec.optimizer, &description.layout).parameters;
        let per_shard = self.per_shard;
        Ok(Box::new(ConstantJob { description, rounding, samples, elements, visits, per_shard, gradients }))
    }
}

struct ConstantJob {
    description: JobDescription,
    rounding: Rounding,
    samples: u64,
    /// Elements of the gradients of a partial.
    elements: usize,
    /// Whether shards climb by themselves.
    visits: bool,
    per_shard: Duration,
    /// Gradients return here when they have been sent, so that the next ones are ready.
    gradients: FlatBufferPool,
}

impl PreparedJob for ConstantJob {
    fn description(&self) -> &JobDescription {
        &self.description
    }

    fn initial_state(&self) -> Result<ModelState<FlatBuffer>, ComputeError> {
        Ok(self.description.layout.lengths().map(FlatBuffer::zeros))
    }

    fn probe(&self) -> Digest {
        Digest::of(b"constant")
    }

    fn load(&mut self, _: ModelState<&[f32]>) -> Result<(), ComputeError> {
        Ok(())
    }

    fn segment(
        &mut self,
        request: &Request,
        segment: Segment,
        watch: &Arc<dyn Watch>,
    ) -> Result<Partial, Stopped> {
        reduce_shards(segment, 1, &self.rounding, watch.as_ref(), |shards| {
            let partials = shards.map(|shard| self.partial(request, shard)).collect();
            std::thread::sleep(self.per_shard);
            watch.advance();
            Ok(partials)
        })
    }
}

impl ConstantJob {
    fn partial(&self, request: &Request, shard: u32) -> Partial {
        let range = shard_range(self.samples, effective_shards(self.samples, request.shards), shard);
        let samples = range.end - range.start;
        let mut gradient = self.gradients.lend(self.elements);
        // Whatever was done to an earlier one was done to all of its elements alike.
        if gradient.last().is_some_and(|last| *last != GRADIENT) {
            gradient.fill(GRADIENT);
        }
        Partial {
            gradient,
            statistics: FlatBuffer::default(),
            sums: Sums {
                loss: samples as f64,
                correct: 0,
                samples,
                visits: self.visits.then(VisitSums::default),
            },
        }
    }
}
