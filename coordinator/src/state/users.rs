//! Calls of users: creating, listing and steering jobs.

use std::sync::Arc;

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use prost::Message as _;

use super::Core;
use super::access::Caller;
use super::active::{Closing, Member};
use super::cluster::Cluster;
use super::event::{CallError, JobView, Reply, ReplyTo, UserCall, WorkerView};
use super::job::Job;
use super::observation::{JobMove, Observation};
use super::record::{JobRecord, JobState};
use super::workers::Worker;

/// Maximum size in bytes of an encoded specification: it is sent to every worker and is part of every list of jobs.
const MAX_SPEC: usize = 256 << 10;
/// Maximum size in bytes of all specifications in one page of jobs.
const MAX_PAGE_BYTES: usize = 2 << 20;
/// Maximum length in bytes of a `request_id`.
const MAX_REQUEST_ID: usize = 64;

impl Core {
    pub(super) fn user_call(&mut self, reply_to: ReplyTo, caller: &Caller, call: UserCall) {
        let result = match call {
            UserCall::Create { request_id, spec, id } => self.create(caller, request_id, *spec, id),
            UserCall::Get(id) => self.of_user(caller, &id, |_, job, _| Ok(view(job))),
            UserCall::Cancel(id) => self.of_user(caller, &id, Cluster::cancel),
            UserCall::Pause(id) => self.of_user(caller, &id, Cluster::pause),
            UserCall::Resume { id, accept_class } => {
                self.of_user(caller, &id, |cluster, job, who| cluster.resume(job, who, accept_class))
            }
            UserCall::List { count, before } => {
                let page = self.list(caller, count, before);
                return self.cluster.reply(reply_to, page);
            }
            UserCall::Workers => {
                let workers = self.worker_views();
                return self.cluster.reply(reply_to, Reply::Workers(workers));
            }
        };
        self.cluster.reply(reply_to, Reply::Job(Box::new(result)));
    }

    /// Applies `act` to a job that exists and that the caller may access. The last argument of `act` describes the
    /// caller in relation to the job, for notices.
    fn of_user(
        &mut self,
        caller: &Caller,
        id: &JobId,
        act: impl FnOnce(&mut Cluster, &mut Job, &str) -> Result<JobView, CallError>,
    ) -> Result<JobView, CallError> {
        let job = self.jobs.get_mut(id).ok_or_else(|| CallError::NotFound(id.clone()))?;
        caller.check(job)?;
        let who = caller.relation_to_owner(&job.record.owner);
        act(&mut self.cluster, job, &who)
    }

    fn create(
        &mut self,
        caller: &Caller,
        request_id: String,
        spec: v1::JobSpec,
        id: JobId,
    ) -> Result<JobView, CallError> {
        if self.cluster.stopping {
            return Err(CallError::Stopping);
        }
        check_request_id(&request_id)?;
        let encoded = spec.encode_to_vec();
        let owner = caller.name().to_owned();
        let request = (owner.clone(), request_id.clone());
        // Before all limits: the retry of a creation that succeeded must not fail.
        if let Some(earlier) = self.requests.get(&request).and_then(|id| self.jobs.get(id)) {
            let same = earlier.record.spec == encoded;
            return if same { Ok(view(earlier)) } else { Err(CallError::RequestReused(request_id)) };
        }
        let queued = self.jobs.values().filter(|job| job.record.state == JobState::Queued).count();
        if queued >= self.cluster.config.max_queued_jobs {
            let limit = self.cluster.config.max_queued_jobs;
            return Err(CallError::Exhausted { what: "queued jobs", limit });
        }
        let checked = wire::from_proto(&spec)?.validate()?;
        if encoded.len() > MAX_SPEC {
            let problem = format!("expected at most {MAX_SPEC} bytes, found {}", encoded.len());
            return Err(lookbehind_common::job::JobError::new("spec", &problem).into());
        }
        self.created += 1;
        let record = JobRecord {
            id: id.clone(),
            number: self.created,
            owner,
            request_id,
            spec: encoded,
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
        };
        tracing::info!(job = %id, name = checked.name, owner = record.owner, "job queued");
        self.requests.insert(request, id.clone());
        let mut job = Job::new(record, checked, spec.into());
        self.cluster.set_state(&mut job, JobState::Queued, "queued");
        let created = view(&job);
        self.jobs.insert(id, job);
        Ok(created)
    }

    /// Restores a stored job after a start of the coordinator.
    pub(super) fn recover(&mut self, mut record: JobRecord) {
        if record.checkpoint.is_none() {
            // Without a checkpoint it begins again, on workers of any class.
            record.class = None;
            record.description = None;
        }
        let spec = v1::JobSpec::decode(record.spec.as_slice());
        let checked = spec.map_err(|error| error.to_string()).and_then(|spec| {
            let checked = wire::from_proto(&spec).and_then(|file| file.validate());
            checked.map(|checked| (spec, checked)).map_err(|error| error.to_string())
        });
        let id = record.id.clone();
        let (message, spec) = match checked {
            Ok(pair) => pair,
            Err(error) => {
                tracing::error!(job = %id, error, "stored job cannot be read; it is left alone");
                return;
            }
        };
        let state = record.state;
        let pausing = record.pausing;
        self.created = self.created.max(record.number);
        self.requests.insert((record.owner.clone(), record.request_id.clone()), id.clone());
        let mut job = Job::new(record, spec, message.into());
        // What workers said before the coordinator ended counts only if there is a checkpoint.
        job.unbind();
        job.since = Some(self.cluster.now.elapsed);
        let appeared = JobMove { job: id.clone(), from: None, to: state, after: None };
        self.cluster.observe(Observation::JobMoved(appeared));
        if matches!(state, JobState::Preparing | JobState::Running) {
            let next = if pausing { JobState::Paused } else { JobState::Queued };
            self.cluster.set_state(&mut job, next, "the coordinator was restarted");
        }
        self.jobs.insert(id, job);
    }

    fn list(&self, caller: &Caller, count: usize, before: Option<u64>) -> Reply {
        let is_before = |number: u64| before.is_none_or(|before| number < before);
        let wanted = |job: &&Job| is_before(job.record.number) && caller.may_access(&job.record.owner);
        let mut jobs: Vec<&Job> = self.jobs.values().filter(wanted).collect();
        jobs.sort_unstable_by_key(|job| std::cmp::Reverse(job.record.number));
        let mut bytes = 0;
        let mut fits = |job: &&Job| {
            bytes += job.record.spec.len();
            bytes <= MAX_PAGE_BYTES
        };
        let fitting = jobs.iter().take_while(|job| fits(job)).count().max(1).min(count);
        let more = jobs.len() > fitting;
        jobs.truncate(fitting);
        let next = jobs.last().filter(|_| more).map(|job| job.record.number);
        Reply::Jobs(jobs.into_iter().map(view).collect(), next)
    }

    fn worker_views(&self) -> Vec<WorkerView> {
        let view = |(session, worker): (_, &Worker)| {
            let member = worker.job.as_ref().and_then(|job| self.member(job, session));
            WorkerView {
                session,
                registration: worker.registration.clone(),
                job: worker.job.clone(),
                silent_seconds: self.cluster.now.elapsed.saturating_sub(worker.last_seen).as_secs_f64(),
                seconds_per_shard: member.and_then(|member| member.seconds_per_shard),
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

impl Cluster {
    fn cancel(&mut self, job: &mut Job, who: &str) -> Result<JobView, CallError> {
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

    fn pause(&mut self, job: &mut Job, who: &str) -> Result<JobView, CallError> {
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
    fn resume(&mut self, job: &mut Job, who: &str, accept_class: bool) -> Result<JobView, CallError> {
        let state = job.record.state;
        match state {
            JobState::Paused => {
                job.excluded.clear();
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

fn view(job: &Job) -> JobView {
    JobView {
        record: job.record.clone(),
        spec: Arc::clone(&job.message),
        outer_step: job.outer_step(),
        workers: job.active.as_ref().map_or(0, |active| active.members.len() as u32),
    }
}

fn wrong_state(job: &JobId, verb: &'static str, state: JobState) -> CallError {
    CallError::WrongState { job: job.clone(), verb, state: state.name() }
}

fn check_request_id(request_id: &str) -> Result<(), CallError> {
    let plain = request_id.bytes().all(|b| b.is_ascii_graphic());
    if request_id.is_empty() || request_id.len() > MAX_REQUEST_ID || !plain {
        let problem = format!(
            "expected 1 to {MAX_REQUEST_ID} visible ASCII characters, found {} bytes",
            request_id.len()
        );
        return Err(lookbehind_common::job::JobError::new("request_id", &problem).into());
    }
    Ok(())
}
