//! The limit on what checkpoints take on the disk. A job that has not begun is refused if those that it would keep do not fit
//! beside the files of the jobs that have ended and what other jobs will need; a job that has begun goes on.

use lookbehind_common::ids::JobId;
use lookbehind_common::job::{BaseOptimizer, JobDescription, JobSpec};

use super::Core;
use super::catalog::DELETE;
use super::job::Job;
use super::usage::SHARES;

/// What is left for the checkpoints of a job, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointRoom {
    /// What others use.
    used: u64,
    limit: u64,
    /// What other jobs of its owner use; `None` where there are no credentials.
    own: Option<u64>,
}

impl CheckpointRoom {
    /// Checks that a job's checkpoints fit.
    ///
    /// # Errors
    /// With the key, what is needed, what is left, and how to make room.
    pub(super) fn check(&self, spec: &JobSpec, description: &JobDescription) -> Result<(), String> {
        let Self { used, limit, own } = *self;
        let needed = kept_bytes(spec, description);
        let whole = (limit, limit.saturating_sub(used), "all jobs");
        let share =
            own.map(|own| (limit / SHARES, (limit / SHARES).saturating_sub(own), "the jobs of one owner"));
        let Some((limit, left, whose)) = share.into_iter().chain([whole]).find(|(_, left, _)| needed > *left)
        else {
            return Ok(());
        };
        let keep = spec.checkpoint.keep;
        let best = spec.checkpoint.keep_best.map_or("", |_| ", the best one");
        Err(format!(
            "checkpoint.keep: {keep} checkpoints{best} and one that is being written need {needed} bytes; of the {limit} for \
             {whose} (--max-checkpoint-bytes) {left} are left; keep fewer of them, or {DELETE}"
        ))
    }
}

impl Core {
    /// What is left for the checkpoints of a job that has none.
    pub(super) fn checkpoint_room(&self, id: &JobId) -> Option<CheckpointRoom> {
        let job = self.jobs.get(id).filter(|job| job.record.checkpoint.is_none())?;
        let owner = job.record.owner.as_str();
        let files = self.catalog.files();
        let others = || self.jobs.values().filter(|other| other.id() != id);
        let own = others().filter(|other| other.record.owner == owner).map(reserved).sum::<u64>();
        Some(CheckpointRoom {
            used: files.total().saturating_add(others().map(reserved).sum()),
            limit: self.cluster.config.keep.checkpoint_bytes,
            own: (!owner.is_empty()).then(|| files.used_by(owner).saturating_add(own)),
        })
    }
}

/// What the checkpoints of a job that has not ended take, or will take; 0 while its model is not known.
fn reserved(job: &Job) -> u64 {
    job.checkpoint_bytes.unwrap_or(0)
}

/// Bytes of all checkpoints that a job keeps: weights, running statistics and the state of the base optimizer. A new one is
/// written before the oldest is removed.
pub(super) fn kept_bytes(spec: &JobSpec, description: &JobDescription) -> u64 {
    let buffers = match spec.optimizer.base {
        BaseOptimizer::Sgd { momentum, .. } => u64::from(momentum > 0.0),
        BaseOptimizer::Lion { .. } => 1,
        BaseOptimizer::Adam { .. } | BaseOptimizer::AdamW { .. } => 2,
    };
    let lengths = description.layout.lengths();
    let elements = lengths.parameters as u64 * (1 + buffers) + lengths.statistics as u64;
    let best = u64::from(spec.checkpoint.keep_best.is_some());
    (u64::from(spec.checkpoint.keep) + best + 1).saturating_mul(4 * elements)
}
