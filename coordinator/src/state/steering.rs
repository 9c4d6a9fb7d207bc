//! Cancelling, pausing, resuming and deleting jobs.

use lookbehind_common::ids::JobId;

use super::Core;
use super::access::Caller;
use super::active::Closing;
use super::cluster::Cluster;
use super::event::{CallError, JobView};
use super::job::Job;
use super::record::JobState;
use super::standing::Standings;
use super::users::{view, view_of_ended};

impl Core {
    /// Applies `act` to a job that the caller may access. The last argument of `act` describes the caller in relation to
    /// the job, for notices. A job that has ended cannot be changed; to cancel one that was cancelled changes nothing.
    pub(super) fn steer(
        &mut self,
        caller: &Caller,
        id: &JobId,
        verb: &'static str,
        act: impl FnOnce(&mut Cluster, &mut Job, &str) -> Result<JobView, CallError>,
    ) -> Result<JobView, CallError> {
        if let Some(job) = self.jobs.get_mut(id).filter(|job| caller.may_access(&job.record.owner)) {
            let who = caller.relation_to_owner(&job.record.owner);
            let acted = act(&mut self.cluster, job, &who);
            return acted.map(|view| self.explained(view));
        }
        let ended = self.catalog.ended(id).filter(|record| caller.may_access(&record.owner));
        match ended {
            Some(record) if verb == "cancel" && record.state == JobState::Cancelled => {
                Ok(view_of_ended(record))
            }
            Some(record) => Err(wrong_state(id, verb, record.state)),
            None => Err(CallError::NotFound(id.clone())),
        }
    }

    /// Deletes a job that has ended. What is sent of it meanwhile ends with `NotFound`.
    pub(super) fn delete(&mut self, caller: &Caller, id: &JobId) -> Result<(), CallError> {
        if let Some(job) = self.jobs.get(id).filter(|job| caller.may_access(&job.record.owner)) {
            return Err(CallError::NotEnded { job: id.clone(), state: job.record.state.name() });
        }
        let ended = self.catalog.ended(id).is_some_and(|record| caller.may_access(&record.owner));
        if !ended || !self.remove_ended(id) {
            return Err(CallError::NotFound(id.clone()));
        }
        tracing::info!(job = %id, by = caller.name(), "job deleted");
        Ok(())
    }
}

impl Cluster {
    pub(super) fn cancel(&mut self, job: &mut Job, who: &str) -> Result<JobView, CallError> {
        let state = job.record.state;
        if state == JobState::Cancelled {
            return Ok(view(job));
        }
        if state.is_terminal() {
            return Err(wrong_state(job.id(), "cancel", state));
        }
        tracing::info!(job = %job.id(), "job cancelled");
        self.set_state(job, JobState::Cancelled, &format!("cancelled by {who}"));
        self.release(job);
        Ok(view(job))
    }

    pub(super) fn pause(&mut self, job: &mut Job, who: &str) -> Result<JobView, CallError> {
        let state = job.record.state;
        match (state, job.active.as_ref()) {
            (JobState::Paused, _) => {}
            (JobState::Running, Some(active)) if active.closing() == Some(Closing::Done) => {
                return Err(wrong_state(job.id(), "pause", state));
            }
            (JobState::Running, Some(active)) if !active.members.is_empty() => {
                if !std::mem::replace(&mut job.record.pausing, true) {
                    self.note(job, &format!("{who} requested a pause after the current outer step"));
                }
            }
            // No outer step is under way that workers could finish: the job resumes from its newest checkpoint.
            (JobState::Queued | JobState::Preparing | JobState::Running, _) => {
                self.set_state(job, JobState::Paused, &format!("paused by {who}"));
                self.release(job);
            }
            (JobState::Succeeded | JobState::Failed | JobState::Cancelled, _) => {
                return Err(wrong_state(job.id(), "pause", state));
            }
        }
        Ok(view(job))
    }

    /// Queues a paused job again, or revokes a requested pause. With `accept_class` a paused job may continue in
    /// another compute class than the one it is bound to; from there on its result is the result of that class.
    pub(super) fn resume(
        &mut self,
        job: &mut Job,
        who: &str,
        accept_class: bool,
    ) -> Result<JobView, CallError> {
        let state = job.record.state;
        match state {
            JobState::Paused => {
                job.excluded.clear();
                job.faults.clear();
                // Its owner may know that what kept workers away is mended.
                job.standings = Standings::default();
                let given_up = job.record.class.take_if(|_| accept_class);
                let message = given_up.map_or(format!("resumed by {who}"), |class| {
                    format!("resumed by {who}, who gives up its compute class: {class}")
                });
                self.set_state(job, JobState::Queued, &message);
            }
            JobState::Queued | JobState::Preparing | JobState::Running if !accept_class => {
                if std::mem::take(&mut job.record.pausing) {
                    self.note(job, &format!("{who} withdrew the request to pause"));
                }
            }
            _ => return Err(wrong_state(job.id(), "resume", state)),
        }
        Ok(view(job))
    }
}

/// The refusal of a call that does not fit a job's state.
pub(super) fn wrong_state(job: &JobId, verb: &'static str, state: JobState) -> CallError {
    CallError::WrongState { job: job.clone(), verb, state: state.name() }
}
