//! A job whose shards climb by themselves (`perturbation = "shard"`), on top of a job of any device: each gradient of a
//! shard's path is that of the inner job at the shard's own perturbed weights.
//!
//! A job holds the weights of one point at a time, so the gradients of a worker are computed one by one, each with all
//! threads, in the order that takes less memory. Paths are climbed in the host's memory, with the arithmetic of the
//! optimizer.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::{JobDescription, JobSpec, OptimizerSpec};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::{AbsorbError, Climb, ClimbOrder, Visit, VisitPartial, gradient_layout};
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::Segment;

use super::{
    ComputeError, PreparedJob, Request, RequestKind, Rounding, Stopped, Timing, Watch, reduce_shards,
};

pub(super) struct Climbing {
    inner: Box<dyn PreparedJob>,
    visit: Visit,
    optimizer: OptimizerSpec,
    /// Lengths of the model, and of its gradients.
    lengths: [ModelState<usize>; 2],
    rounding: Rounding,
    /// The model's kind, for errors.
    kind: String,
    /// The order in which shards climb; `None` for the one that takes less memory.
    order: Option<ClimbOrder>,
    /// The weights at which visits begin; `None` if none are loaded.
    start: Option<ModelState<FlatBuffer>>,
    /// Whether the inner job may hold other weights than these.
    moved: bool,
}

/// What the visits of a segment are computed for.
struct Asked<'a> {
    request: &'a Request,
    segment: Segment,
    start: &'a ModelState<FlatBuffer>,
    watch: &'a Arc<dyn Watch>,
}

impl Climbing {
    /// Lets the shards of a job climb.
    pub(super) fn new(
        inner: Box<dyn PreparedJob>,
        visit: Visit,
        spec: &JobSpec,
        order: Option<ClimbOrder>,
    ) -> Self {
        let layout = &inner.description().layout;
        let rounding = Rounding::of(spec, layout);
        let lengths = [layout.lengths(), gradient_layout(&spec.optimizer, layout).lengths()];
        let (optimizer, kind) = (spec.optimizer.clone(), spec.model.kind.clone());
        Self { inner, visit, optimizer, lengths, rounding, kind, order, start: None, moved: false }
    }

    /// A shard at the beginning of its path.
    fn climb(&self, asked: &Asked<'_>, shard: u32) -> Result<Climb, ComputeError> {
        let layout = &self.inner.description().layout;
        let climb = Climb::new(self.visit, &self.optimizer, layout, &asked.start.parameters);
        climb.map_err(|source| self.refused(shard, source))
    }

    /// What is sent of visits, before their first gradient.
    fn sent(&self) -> VisitPartial {
        VisitPartial::new(self.visit, &self.optimizer, &self.inner.description().layout)
    }

    fn refused(&self, shard: u32, source: AbsorbError) -> ComputeError {
        ComputeError::Path { kind: self.kind.clone(), shard, source }
    }

    /// What a shard sends of the next gradient of its path.
    fn gradient(&mut self, asked: &Asked<'_>, climb: &mut Climb, shard: u32) -> Result<Partial, Stopped> {
        if self.moved || climb.has_moved() {
            self.moved = true;
            let statistics = &asked.start.statistics;
            self.inner.load(ModelState { parameters: climb.weights(), statistics })?;
            self.moved = climb.has_moved();
        }
        let alone = Segment { first: shard, end: shard + 1 };
        let mut found = self.inner.segment(asked.request, alone, asked.watch)?;
        climb.absorb(&mut found).map_err(|source| self.refused(shard, source))?;
        Ok(found)
    }

    /// The sum of the visits of a segment, each of which is added before the next one begins, so that few wait.
    fn one_after_another(&mut self, asked: &Asked<'_>) -> Result<Partial, Stopped> {
        let rounding = self.rounding.clone();
        reduce_shards(asked.segment, 1, &rounding, asked.watch.as_ref(), |shards| {
            shards.map(|shard| self.visit(asked, shard)).collect()
        })
    }

    fn visit(&mut self, asked: &Asked<'_>, shard: u32) -> Result<Partial, Stopped> {
        let mut climb = self.climb(asked, shard)?;
        let mut sent = self.sent();
        loop {
            let found = self.gradient(asked, &mut climb, shard)?;
            if let Some(partial) = sent.absorb(&found).map_err(|source| self.refused(shard, source))? {
                return Ok(partial);
            }
        }
    }

    /// The sum of the visits of a segment, gradient by gradient.
    fn in_step(&mut self, asked: &Asked<'_>) -> Result<Partial, Stopped> {
        let Segment { first, end } = asked.segment;
        let climbs = (first..end).map(|shard| self.climb(asked, shard));
        let mut climbs = climbs.collect::<Result<Vec<_>, _>>()?;
        let mut sent = self.sent();
        let rounding = self.rounding.clone();
        loop {
            let mut next = climbs.iter_mut();
            let sum = reduce_shards(asked.segment, 1, &rounding, asked.watch.as_ref(), |shards| {
                let climbs = shards.zip(next.by_ref());
                climbs.map(|(shard, climb)| self.gradient(asked, climb, shard)).collect()
            })?;
            if let Some(partial) = sent.absorb(&sum).map_err(|source| self.refused(first, source))? {
                return Ok(partial);
            }
        }
    }

    /// Sums over a test, at the weights at which visits begin.
    fn test(&mut self, asked: &Asked<'_>) -> Result<Partial, Stopped> {
        if self.moved {
            self.inner.load(asked.start.values())?;
            self.moved = false;
        }
        self.inner.segment(asked.request, asked.segment, asked.watch)
    }
}

impl PreparedJob for Climbing {
    fn description(&self) -> &JobDescription {
        self.inner.description()
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
        self.moved = false;
        self.start = Some(weights.map(|values| values.to_vec().into()));
        Ok(())
    }

    fn segment(
        &mut self,
        request: &Request,
        segment: Segment,
        watch: &Arc<dyn Watch>,
    ) -> Result<Partial, Stopped> {
        let start = self.start.take().ok_or(ComputeError::NotLoaded)?;
        let asked = Asked { request, segment, start: &start, watch };
        let computed = match request.kind {
            RequestKind::Test(_) => self.test(&asked),
            RequestKind::Gradient => {
                let [model, gradient] = self.lengths;
                match self.order.unwrap_or_else(|| self.visit.order(model, gradient, segment.len())) {
                    ClimbOrder::OneAfterAnother => self.one_after_another(&asked),
                    ClimbOrder::InStep => self.in_step(&asked),
                }
            }
        };
        self.start = Some(start);
        computed
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
