//! What a worker keeps in the host's memory from one shard to the next.

use lookbehind_common::job::JobSpec;
use lookbehind_common::layout::Layout;
use lookbehind_common::optimizer::{ClimbOrder, Visit, gradient_layout};

use super::CandleBackend;
use crate::compute::ComputeError;
use crate::compute::cpu::Kept;
use crate::memory;

impl CandleBackend {
    /// The same backend, whose shards climb in this order whatever memory it takes: for comparisons of the two, which
    /// come to the same bytes.
    #[must_use]
    pub fn with_climb_order(self, order: ClimbOrder) -> Self {
        Self { climb_order: Some(order), ..self }
    }

    /// Bytes that the visits of a job take if this worker has all shards of a batch; `None` without visits.
    fn visit_bytes(&self, spec: &JobSpec, layout: &Layout, shards: u32) -> Option<u64> {
        let visit = Visit::of(&spec.optimizer.method)?;
        let (model, gradient) = (layout.lengths(), gradient_layout(&spec.optimizer, layout).lengths());
        let order = self.climb_order.unwrap_or_else(|| visit.order(model, gradient, shards));
        Some(visit.bytes(order, model, gradient, shards))
    }

    /// What a worker on the CPU keeps from one shard to the next if it has all shards of a batch: what visits take, or the
    /// ⌊log₂ m⌋ partials of m shards that wait to be added while the last one is computed.
    pub(super) fn kept(&self, spec: &JobSpec, layout: &Layout, shards: u32) -> Kept {
        let gradient = gradient_layout(&spec.optimizer, layout).lengths();
        let waiting = u64::from(shards.max(1).ilog2()).saturating_mul(gradient.bytes());
        self.visit_bytes(spec, layout, shards).map_or(Kept::Partials(waiting), Kept::Visits)
    }

    /// Refuses a job on GPUs whose visits take more of the host's memory than is left. On the devices, a path takes no more
    /// than a gradient.
    pub(super) fn check_visits(
        &self,
        spec: &JobSpec,
        layout: &Layout,
        shards: u32,
        samples: u64,
    ) -> Result<(), ComputeError> {
        let Some(needed) = self.visit_bytes(spec, layout, shards) else { return Ok(()) };
        let loaded = memory::in_use();
        let transfers = self.copies * layout.lengths().bytes();
        let limit = self.environment.memory_limit;
        if needed <= limit.saturating_sub(loaded.saturating_add(transfers)) {
            return Ok(());
        }
        let [needed, loaded, transfers, limit] = [needed, loaded, transfers, limit].map(|bytes| bytes >> 20);
        let kind = spec.model.kind.clone();
        Err(ComputeError::VisitMemory { kind, samples, needed, loaded, transfers, limit })
    }
}

#[cfg(test)]
mod tests;
