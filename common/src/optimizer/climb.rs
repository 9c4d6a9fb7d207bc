//! The path of one shard with `perturbation = "shard"`, which a worker climbs with the arithmetic of the optimizer.

use super::blocks::{Block, Target, blocks_of};
use super::check::Check;
use super::messages::AbsorbError;
use super::trained::Trained;
use super::update::{Ascent, norms, update};
use super::visit::Visit;
use crate::flat_buffer::FlatBuffer;
use crate::job::OptimizerSpec;
use crate::layout::Layout;
use crate::model_state::ModelState;
use crate::partial::{Partial, VisitSums};

/// A shard on its path. The arithmetic is that of the optimizer.
#[derive(Debug)]
pub struct Climb {
    visit: Visit,
    trained: Trained,
    blocks: Vec<Block>,
    /// φ′ after the last ascent.
    perturbed: FlatBuffer,
    /// Number of the gradient that is computed next, from 0.
    index: u32,
    /// What is sent, filled up to `index`.
    partial: Partial,
}

impl Climb {
    /// A shard that begins its path at `start`, the slow or fast weights of a model with this layout.
    ///
    /// # Errors
    /// If they do not have the layout's length.
    pub fn new(
        visit: Visit,
        spec: &OptimizerSpec,
        layout: &Layout,
        start: &[f32],
    ) -> Result<Self, AbsorbError> {
        Check { gradient: 0, layout }.weights_length(start)?;
        let trained = Trained::new(spec, layout);
        let ModelState { parameters: gradient, statistics } =
            visit.lengths(trained.gradients.lengths()).map(FlatBuffer::zeros);
        let partial = Partial { gradient, statistics, ..Partial::default() };
        let ((blocks, _), perturbed) = (blocks_of(layout, &spec.groups), start.to_vec().into());
        Ok(Self { visit, trained, blocks, perturbed, index: 0, partial })
    }

    /// The weights at which the next gradient is computed.
    pub fn weights(&self) -> &[f32] {
        &self.perturbed
    }

    /// Takes the shard's partial at [`Climb::weights`], and climbs. Returns the partial of the visit after its last
    /// gradient; the path has then ended.
    ///
    /// # Errors
    /// If a value is not finite, a flat buffer does not have the layout's length, or the path has ended.
    pub fn absorb(&mut self, found: &Partial) -> Result<Option<Partial>, AbsorbError> {
        if self.index == self.visit.gradients() {
            return Err(AbsorbError::NotAskedFor);
        }
        let check = Check { gradient: self.index, layout: &self.trained.gradients };
        check.lengths(&found.gradient, &found.statistics)?;
        let gradient = self.trained.spread(&found.gradient);
        let norms = norms(&self.blocks, &gradient, &self.perturbed, self.visit.ascent.eta);
        check.finite(norms.plain, &found.gradient, &found.statistics)?;
        self.keep(found, norms.plain);
        self.index += 1;
        if self.index == self.visit.gradients() {
            return Ok(Some(std::mem::take(&mut self.partial)));
        }
        let ascent = Ascent::new(&self.visit.ascent, norms, Target::new(None, &mut self.perturbed));
        update(&self.blocks, &gradient, Some(ascent), None);
        Ok(None)
    }

    /// Keeps of a gradient what is sent of it.
    fn keep(&mut self, found: &Partial, norm: f64) {
        let Partial { gradient, statistics, sums } = &mut self.partial;
        let index = self.index as usize;
        let length = found.statistics.len();
        statistics[index * length..(index + 1) * length].copy_from_slice(&found.statistics);
        if let Some(sent) = self.index.checked_sub(self.visit.gradients() - self.visit.descents()) {
            let (sent, length) = (sent as usize, found.gradient.len());
            gradient[sent * length..(sent + 1) * length].copy_from_slice(&found.gradient);
        }
        if self.index == 0 {
            *sums = found.sums;
            sums.visits = Some(VisitSums { last_loss: found.sums.loss, gradient_norm: norm });
        }
        if let Some(visits) = &mut sums.visits {
            visits.last_loss = found.sums.loss;
        }
    }
}
