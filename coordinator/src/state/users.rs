//! Calls of users: creating, showing and listing jobs, and listing workers.

use std::sync::Arc;

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_common::job::{InitSpec, JobError, JobSpec};
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use prost::Message as _;

use super::Core;
use super::access::Caller;
use super::active::Member;
use super::cluster::Cluster;
use super::event::{CallError, JobView, Reply, ReplyTo, SpecView, UserCall, WorkerView};
use super::job::Job;
use super::observation::{JobMove, Observation};
use super::record::{InitialCheckpoint, JobRecord, JobState, StoredJob};
use super::submission::Submission;
use super::workers::Worker;

/// Maximum length in bytes of a `request_id`.
const MAX_REQUEST_ID: usize = 64;

impl Core {
    pub(super) fn user_call(&mut self, reply_to: ReplyTo, caller: &Caller, call: UserCall) {
        let job = |result| Reply::Job(Box::new(result));
        let changes = call.changes();
        let storable = self.cluster.check_storage();
        let reply = match call {
            UserCall::Create { request_id, submission, initial_checkpoint, entropy } => {
                job(self.create(caller, request_id, *submission, initial_checkpoint, entropy))
            }
            UserCall::Get(id) => job(self.find(caller, &id)),
            UserCall::Cancel(id) => {
                job(storable.and_then(|()| self.steer(caller, &id, "cancel", Cluster::cancel)))
            }
            UserCall::Pause(id) => {
                job(storable.and_then(|()| self.steer(caller, &id, "pause", Cluster::pause)))
            }
            UserCall::Resume { id, accept_class } => {
                let resume =
                    |cluster: &mut Cluster, job: &mut Job, who: &str| cluster.resume(job, who, accept_class);
                job(storable.and_then(|()| self.steer(caller, &id, "resume", resume)))
            }
            UserCall::Retry { id, spec } => job(storable.and_then(|()| self.retry(caller, &id, spec))),
            UserCall::Delete(id) => Reply::Done(storable.and_then(|()| self.delete(caller, &id))),
            UserCall::List(query) => self.list(caller, &query),
            UserCall::AnnounceUpload(bytes) => {
                Reply::Ticket(storable.and_then(|()| self.announce_upload(caller, bytes)))
            }
            UserCall::KeepUpload { ticket, digest } => {
                Reply::Done(storable.and_then(|()| self.keep_upload(ticket, digest)))
            }
            UserCall::Workers => Reply::Workers(self.worker_views(caller)),
        };
        if changes { self.cluster.acknowledge(reply_to, reply) } else { self.cluster.reply(reply_to, reply) }
    }

    /// The view of a job, whether it has ended or not.
    fn view(&self, id: &JobId) -> Option<JobView> {
        let view = self.jobs.get(id).map(view).or_else(|| self.catalog.ended(id).map(view_of_ended))?;
        Some(self.explained(view))
    }

    /// A view with what the job waits for.
    pub(super) fn explained(&self, view: JobView) -> JobView {
        let waiting_for = self.jobs.get(&view.record.id).and_then(|job| self.waits().of(job));
        JobView { waiting_for, ..view }
    }

    fn find(&self, caller: &Caller, id: &JobId) -> Result<JobView, CallError> {
        let view = self.view(id).filter(|view| caller.may_access(&view.record.owner));
        view.ok_or_else(|| CallError::NotFound(id.clone()))
    }

    fn create(
        &mut self,
        caller: &Caller,
        request_id: String,
        submission: Submission,
        initial_checkpoint: Result<Option<InitialCheckpoint>, CallError>,
        entropy: u64,
    ) -> Result<JobView, CallError> {
        if self.cluster.stopping {
            return Err(CallError::Stopping);
        }
        check_request_id(&request_id)?;
        let Submission { spec, encoded, digest: spec_digest } = submission;
        // Before all limits: the retry of a creation that succeeded must not fail.
        let earlier = self.catalog.requested(caller.name(), &request_id).and_then(|id| self.view(id));
        if let Some(earlier) = earlier {
            let same = earlier.record.spec_digest == spec_digest;
            return if same { Ok(earlier) } else { Err(CallError::RequestReused(request_id)) };
        }
        self.cluster.check_storage()?;
        self.check_queue(caller)?;
        self.catalog.check(caller, &self.cluster.config.keep)?;
        let initial_checkpoint = initial_checkpoint?;
        let init = match spec.model.init {
            Some(InitSpec::File(digest)) => Some(digest),
            Some(InitSpec::Job { .. }) | None => None,
        };
        self.check_init(caller, init)?;
        let spec_bytes = encoded.len() as u64;
        self.catalog.check_bytes(caller, spec_bytes, &self.cluster.config.keep)?;
        let id = self.unused_id(entropy);
        self.created += 1;
        let record = JobRecord {
            id: id.clone(),
            number: self.created,
            owner: caller.name().to_owned(),
            request_id,
            spec_bytes,
            spec_digest,
            init,
            initial_checkpoint,
            state: JobState::Queued,
            revision: 0,
            message: String::new(),
            created_at: self.cluster.now.unix,
            finished_at: None,
            checkpoint: None,
            total_outer_steps: 0,
            class: None,
            digest: None,
            pausing: false,
            description: None,
            verified: 0,
            name: spec.name.clone(),
            labels: spec.labels.clone(),
            results: None,
        };
        tracing::info!(job = %id, name = spec.name, owner = record.owner, "job queued");
        self.catalog.add(&record);
        let mut job = Job::new(record, spec, encoded, false);
        let message = match &job.record.initial_checkpoint {
            Some(InitialCheckpoint { job, outer_step, .. }) => {
                format!("queued; starts from outer step {outer_step} of job {job}")
            }
            None => "queued".to_owned(),
        };
        self.cluster.set_state(&mut job, JobState::Queued, &message);
        self.claim_upload(job.record.init, &job.record.owner);
        self.cluster.adopt(&job);
        let created = view(&job);
        self.jobs.insert(id, job);
        Ok(self.explained(created))
    }

    /// Checks that a caller may queue a further job. A user gets a quarter of the queue, and administrators may go on to
    /// twice its length, so that no users can keep them out.
    pub(super) fn check_queue(&self, caller: &Caller) -> Result<(), CallError> {
        let most = self.cluster.config.max_queued_jobs;
        let queued = || self.jobs.values().filter(|job| job.record.state == JobState::Queued);
        if let Caller::User(name) = caller {
            let share = (most / 4).max(1);
            if queued().filter(|job| job.record.owner == *name).count() >= share {
                return Err(CallError::Exhausted { what: "queued jobs of one user", limit: share });
            }
        }
        let (what, limit) = match caller {
            Caller::Admin(_) => ("queued jobs of all users and administrators together", 2 * most),
            Caller::User(_) | Caller::Anyone => ("queued jobs of all users together", most),
        };
        if queued().count() >= limit {
            return Err(CallError::Exhausted { what, limit });
        }
        Ok(())
    }

    /// An identity that no job has. Drawn ones may repeat, and the files and records of two jobs must not be mixed.
    fn unused_id(&self, entropy: u64) -> JobId {
        let mut bits = entropy;
        loop {
            let id = JobId::from_entropy(bits);
            if !self.jobs.contains_key(&id) && self.catalog.ended(&id).is_none() {
                return id;
            }
            bits = bits.wrapping_add(1);
        }
    }

    /// Restores a stored job after a start of the coordinator.
    pub(super) fn recover(&mut self, StoredJob { mut record, spec }: StoredJob) {
        self.created = self.created.max(record.number);
        self.catalog.add(&record);
        self.claim_upload(record.init, &record.owner);
        let state = record.state;
        let (job, owner, message) = (record.id.clone(), record.owner.clone(), record.message.clone());
        let appeared =
            JobMove { job, from: None, to: state, after: None, name: String::new(), owner, message };
        self.cluster.observe(Observation::JobMoved(appeared));
        let Some(encoded) = spec else {
            self.measure(record.id.clone());
            return self.catalog.end(record);
        };
        let checked = match decode_spec(&encoded) {
            Ok(checked) => checked,
            Err(error) => {
                tracing::error!(job = %record.id, %error, "stored job cannot be read; it is left alone");
                return self.catalog.end(record);
            }
        };
        if record.checkpoint.is_none() {
            // Without a checkpoint it begins again, on workers of any class.
            record.class = None;
            record.description = None;
        }
        // Steps after the newest checkpoint are computed again.
        record.results =
            record.results.and_then(|results| results.up_to(record.checkpoint.unwrap_or_default()));
        let (id, pausing) = (record.id.clone(), record.pausing);
        let mut job = Job::new(record, checked, encoded.into(), true);
        // What workers said before the coordinator ended counts only if there is a checkpoint.
        job.unbind();
        job.since = Some(self.cluster.now.elapsed);
        if matches!(state, JobState::Preparing | JobState::Running) {
            let next = if pausing { JobState::Paused } else { JobState::Queued };
            self.cluster.set_state(&mut job, next, "the coordinator was restarted");
        }
        self.cluster.adopt(&job);
        self.jobs.insert(id, job);
    }

    /// All workers. Which job one serves is shown to those who may see the job.
    fn worker_views(&self, caller: &Caller) -> Vec<WorkerView> {
        let is_shown =
            |id: &&JobId| self.jobs.get(*id).is_some_and(|job| caller.may_access(&job.record.owner));
        let view = |(session, worker): (_, &Worker)| {
            let member = worker.job.as_ref().and_then(|job| self.member(job, session));
            WorkerView {
                session,
                name: Arc::clone(&worker.name),
                registration: worker.registration.clone(),
                job: worker.job.as_ref().filter(is_shown).cloned(),
                busy: worker.job.is_some(),
                silent_seconds: self.cluster.now.elapsed.saturating_sub(worker.last_seen).as_secs_f64(),
                seconds_per_shard: member.and_then(|member| member.measured.seconds_per_shard()),
                draining: worker.draining,
                // 0 for a worker that serves no job.
                shards_done: member.map_or(0, |member| member.shards_done),
            }
        };
        self.cluster.workers.iter().map(view).collect()
    }

    fn member(&self, job: &JobId, session: SessionId) -> Option<&Member> {
        self.jobs.get(job)?.active.as_ref()?.members.get(&session)
    }
}

/// The view of a job that has not ended.
pub(super) fn view(job: &Job) -> JobView {
    JobView {
        record: job.record.clone(),
        spec: SpecView::Wanted,
        outer_step: job.outer_step(),
        repeats_until: job.repeats_until(),
        workers: job.active.as_ref().map_or(0, |active| active.members.len() as u32),
        waiting_for: None,
    }
}

/// The view of a job that has ended.
pub(super) fn view_of_ended(record: &JobRecord) -> JobView {
    let outer_step = record.checkpoint.unwrap_or(0);
    JobView {
        record: record.clone(),
        spec: SpecView::Wanted,
        outer_step,
        repeats_until: None,
        workers: 0,
        waiting_for: None,
    }
}

/// A stored specification, checked again: another version may have stored it.
pub(super) fn decode_spec(encoded: &[u8]) -> Result<JobSpec, JobError> {
    let spec = v1::JobSpec::decode(encoded).map_err(|error| JobError::new("spec", &error.to_string()))?;
    wire::from_proto(&spec)?.validate()
}

fn check_request_id(request_id: &str) -> Result<(), CallError> {
    let plain = request_id.bytes().all(|b| b.is_ascii_graphic());
    if request_id.is_empty() || request_id.len() > MAX_REQUEST_ID || !plain {
        let problem = format!(
            "expected 1 to {MAX_REQUEST_ID} visible ASCII characters, found {} bytes",
            request_id.len()
        );
        return Err(JobError::new("request_id", &problem).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
