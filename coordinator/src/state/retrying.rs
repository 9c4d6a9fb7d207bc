//! Retrying jobs that have failed or were cancelled.

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;

use super::Core;
use super::access::Caller;
use super::event::{CallError, JobView};
use super::job::Job;
use super::record::JobState;
use super::steering::wrong_state;
use super::users::{decode_spec, view};

impl Core {
    /// Queues a job again that has failed or was cancelled: it goes on from its newest checkpoint. `spec` is its
    /// specification as it is stored, because nothing else is in memory of a job that has ended. A job that has not ended
    /// is left as it is.
    pub(super) fn retry(
        &mut self,
        caller: &Caller,
        id: &JobId,
        spec: Option<Vec<u8>>,
    ) -> Result<JobView, CallError> {
        if let Some(job) = self.jobs.get(id).filter(|job| caller.may_access(&job.record.owner)) {
            return Ok(view(job));
        }
        let not_found = || CallError::NotFound(id.clone());
        let ended = self.catalog.ended(id).filter(|record| caller.may_access(&record.owner));
        let ended = ended.ok_or_else(not_found)?;
        if !matches!(ended.state, JobState::Failed | JobState::Cancelled) {
            return Err(wrong_state(id, "retry", ended.state));
        }
        if self.cluster.stopping {
            return Err(CallError::Stopping);
        }
        // Read before the call: a job that was deleted meanwhile may have left its identity to another one.
        let spec = spec.filter(|spec| Digest::of(spec) == ended.spec_digest).ok_or_else(not_found)?;
        let bytes = ended.spec_bytes;
        self.check_queue(caller)?;
        self.catalog.check_unended_bytes(caller, bytes, &self.cluster.config.keep)?;
        let checked = decode_spec(&spec)?;
        let mut record = self.catalog.revive(id).ok_or_else(not_found)?;
        record.finished_at = None;
        let who = caller.relation_to_owner(&record.owner);
        let message = match record.checkpoint {
            Some(from) => format!("retried by {who}; goes on from outer step {from}"),
            None => format!("retried by {who}; begins anew"),
        };
        tracing::info!(job = %id, owner = record.owner, by = caller.name(), "job retried");
        let mut job = Job::new(record, checked, spec.into(), true);
        job.unbind();
        // For observers it comes from the state in which it had ended.
        job.since = Some(self.cluster.now.elapsed);
        self.cluster.set_state(&mut job, JobState::Queued, &message);
        let retried = view(&job);
        self.jobs.insert(id.clone(), job);
        Ok(retried)
    }
}

#[cfg(test)]
mod tests;
