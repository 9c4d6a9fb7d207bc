//! The memory that the visits of a job take on a worker (`perturbation = "shard"`).

use lookbehind_common::job::JobSpec;
use lookbehind_common::layout::Layout;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::{ClimbOrder, Visit};

use super::CandleBackend;
use crate::compute::ComputeError;
use crate::memory;

impl CandleBackend {
    /// The same backend, whose shards climb in this order whatever memory it takes: for comparisons of the two, which
    /// come to the same bytes.
    #[must_use]
    pub fn with_climb_order(self, order: ClimbOrder) -> Self {
        Self { climb_order: Some(order), ..self }
    }

    /// Bytes that the visits of a job take if this worker has all shards of a batch; `None` without visits.
    pub(super) fn visit_bytes(&self, spec: &JobSpec, lengths: ModelState<usize>, shards: u32) -> Option<u64> {
        let visit = Visit::of(&spec.optimizer.method)?;
        let order = self.climb_order.unwrap_or_else(|| visit.order(lengths, shards));
        Some(visit.bytes(order, lengths, shards))
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
        let Some(needed) = self.visit_bytes(spec, layout.lengths(), shards) else { return Ok(()) };
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
