//! A job whose shards climb by themselves (`perturbation = "shard"`), on top of a job of any device: each gradient of a
//! shard's path is that of the inner job at the shard's own perturbed weights.
//!
//! A job holds the weights of one point at a time, so shards climb one after the other, each with all threads. The path is
//! climbed in the host's memory, with the arithmetic of the optimizer.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::{JobDescription, JobSpec, OptimizerSpec};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::{AbsorbError, Climb, Visit};
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::Segment;

use super::{
    ComputeError, PreparedJob, Request, RequestKind, Rounding, Stopped, Timing, Watch, reduce_shards,
};

pub(super) struct Climbing {
    inner: Box<dyn PreparedJob>,
    visit: Visit,
    optimizer: OptimizerSpec,
    rounding: Rounding,
    /// The model's kind, for errors.
    kind: String,
    /// The weights at which visits begin; `None` if none are loaded. Between two segments, the inner job holds them too.
    start: Option<ModelState<FlatBuffer>>,
}

impl Climbing {
    /// Lets the shards of a job climb.
    pub(super) fn new(inner: Box<dyn PreparedJob>, visit: Visit, spec: &JobSpec) -> Self {
        let rounding = Rounding::of(spec, &inner.description().layout);
        let (optimizer, kind) = (spec.optimizer.clone(), spec.model.kind.clone());
        Self { inner, visit, optimizer, rounding, kind, start: None }
    }

    /// The partial of the visit of one shard.
    fn visit(
        &mut self,
        start: &ModelState<FlatBuffer>,
        request: &Request,
        shard: u32,
        watch: &Arc<dyn Watch>,
    ) -> Result<Partial, Stopped> {
        let Self { inner, visit, optimizer, kind, .. } = self;
        let refused = |source: AbsorbError| ComputeError::Path { kind: kind.clone(), shard, source };
        let layout = &inner.description().layout;
        let mut climb = Climb::new(*visit, optimizer, layout, &start.parameters).map_err(refused)?;
        loop {
            let found = inner.segment(request, Segment { first: shard, end: shard + 1 }, watch)?;
            if let Some(partial) = climb.absorb(&found).map_err(refused)? {
                return Ok(partial);
            }
            inner.load(ModelState { parameters: climb.weights(), statistics: &start.statistics })?;
        }
    }
}

impl PreparedJob for Climbing {
    fn description(&self) -> &JobDescription {
        self.inner.description()
    }

    fn data_report(&self) -> Vec<String> {
        self.inner.data_report()
    }

    fn initial_state(&self) -> Result<ModelState<FlatBuffer>, ComputeError> {
        self.inner.initial_state()
    }

    /// That of the inner job: what is computed between two gradients is the same on all machines.
    fn probe(&self) -> Digest {
        self.inner.probe()
    }

    fn load(&mut self, weights: ModelState<&[f32]>) -> Result<(), ComputeError> {
        self.start = None;
        self.inner.load(weights)?;
        self.start = Some(weights.map(|values| values.to_vec().into()));
        Ok(())
    }

    fn segment(
        &mut self,
        request: &Request,
        segment: Segment,
        watch: &Arc<dyn Watch>,
    ) -> Result<Partial, Stopped> {
        if matches!(request.kind, RequestKind::Test(_)) {
            return self.inner.segment(request, segment, watch);
        }
        let start = self.start.take().ok_or(ComputeError::NotLoaded)?;
        // One by one: each visit is added before the next one begins, so that few wait.
        let rounding = self.rounding.clone();
        let sum = reduce_shards(segment, 1, &rounding, watch.as_ref(), |shards| {
            let visits = shards.map(|shard| {
                let visited = self.visit(&start, request, shard, watch);
                // Also after a visit that failed or was superseded: what is computed next begins there as well.
                self.inner.load(start.values())?;
                visited
            });
            visits.collect()
        });
        self.start = Some(start);
        sum
    }

    fn timings(&mut self) -> Result<Vec<Vec<Timing>>, ComputeError> {
        self.inner.timings()
    }

    fn device_memory(&mut self) -> Result<Option<u64>, ComputeError> {
        self.inner.device_memory()
    }

    fn waited_for_data(&self) -> Duration {
        self.inner.waited_for_data()
    }
}

#[cfg(test)]
mod tests;
