//! The paths of shards with `perturbation = "shard"`, which a worker climbs with the arithmetic of the optimizer, and what
//! is sent of them.

use super::blocks::{Block, Target, blocks_of};
use super::check::Check;
use super::messages::AbsorbError;
use super::trained::{Trained, gradient_layout};
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
        let ((blocks, _), perturbed) = (blocks_of(layout, &spec.groups), start.to_vec().into());
        Ok(Self { visit, trained, blocks, perturbed, index: 0 })
    }

    /// The weights at which the next gradient is computed.
    pub fn weights(&self) -> &[f32] {
        &self.perturbed
    }

    /// Whether the shard has left the weights at which it began.
    pub fn has_moved(&self) -> bool {
        self.index > 0
    }

    /// Takes the shard's partial at [`Climb::weights`], and climbs; the path ends after the visit's last gradient. The
    /// partial becomes what [`VisitPartial`] takes: it gets the sums of a visit, and loses a gradient that only ascends.
    ///
    /// # Errors
    /// If a value is not finite, a flat buffer does not have the layout's length, or the path has ended.
    pub fn absorb(&mut self, found: &mut Partial) -> Result<(), AbsorbError> {
        if self.index == self.visit.gradients() {
            return Err(AbsorbError::NotAskedFor);
        }
        let check = Check { gradient: self.index, layout: &self.trained.gradients };
        check.lengths(&found.gradient, &found.statistics)?;
        let gradient = self.trained.spread(&found.gradient);
        let norms = norms(&self.blocks, &gradient, &self.perturbed, self.visit.ascent.eta);
        check.finite(norms.plain, &found.gradient, &found.statistics)?;
        found.sums.visits = Some(VisitSums { last_loss: found.sums.loss, gradient_norm: norms.plain });
        let sent = self.visit.sent(self.index);
        self.index += 1;
        if self.index < self.visit.gradients() {
            let ascent = Ascent::new(&self.visit.ascent, norms, Target::new(None, &mut self.perturbed));
            update(&self.blocks, &gradient, Some(ascent), None);
        }
        if sent.is_none() {
            found.gradient = FlatBuffer::default();
        }
        Ok(())
    }
}

/// The partial of the visits of a segment, put together from its gradients one after the other: those of one shard, or
/// their sums over the shards of the segment. Sums are made element by element, so both come to the same bytes.
#[derive(Debug)]
pub struct VisitPartial {
    visit: Visit,
    /// Layout of the gradients.
    layout: Layout,
    /// Number of the gradient that is taken next, from 0.
    index: u32,
    /// What is sent, filled up to `index`.
    partial: Partial,
}

impl VisitPartial {
    /// The partial of visits of a model with this layout before their first gradient.
    pub fn new(visit: Visit, spec: &OptimizerSpec, layout: &Layout) -> Self {
        let layout = gradient_layout(spec, layout);
        let ModelState { parameters: gradient, statistics } =
            visit.lengths(layout.lengths()).map(FlatBuffer::zeros);
        let partial = Partial { gradient, statistics, ..Partial::default() };
        Self { visit, layout, index: 0, partial }
    }

    /// Takes the next gradient, of a partial or a sum of partials that [`Climb::absorb`] has taken. Returns the whole
    /// partial after the last one.
    ///
    /// # Errors
    /// If a flat buffer does not have its length, there are no sums of visits, or the last gradient was taken before.
    pub fn absorb(&mut self, found: &Partial) -> Result<Option<Partial>, AbsorbError> {
        if self.index == self.visit.gradients() {
            return Err(AbsorbError::NotAskedFor);
        }
        let of_last = found.sums.visits.ok_or(AbsorbError::NotAskedFor)?;
        let sent = self.visit.sent(self.index);
        let expected = self.layout.lengths();
        let parameters = sent.map_or(0, |_| expected.parameters);
        let check = Check { gradient: self.index, layout: &self.layout };
        check.visits(found, ModelState { parameters, ..expected })?;
        let Partial { gradient, statistics, sums } = &mut self.partial;
        place(statistics, self.index, &found.statistics);
        if let Some(sent) = sent {
            place(gradient, sent, &found.gradient);
        }
        if self.index == 0 {
            *sums = found.sums;
        }
        if let Some(visits) = &mut sums.visits {
            visits.last_loss = of_last.last_loss;
        }
        self.index += 1;
        Ok((self.index == self.visit.gradients()).then(|| std::mem::take(&mut self.partial)))
    }
}

/// Fills the part number `index` of a flat buffer that consists of parts of one length.
fn place(flat_buffer: &mut [f32], index: u32, part: &[f32]) {
    let start = index as usize * part.len();
    flat_buffer[start..start + part.len()].copy_from_slice(part);
}
