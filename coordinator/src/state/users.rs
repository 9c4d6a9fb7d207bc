//! Users' calls.

use lookbehind_common::ids::JobId;
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use prost::Message as _;

use super::Core;
use super::access::Caller;
use super::event::{CallError, JobView, Reply, Token, UserCall, WorkerView};
use super::job::{Closing, Job};
use super::observation::{JobMove, Observation};
use super::record::{JobRecord, JobState};

/// Most bytes of a specification: it goes to every worker and stands in every list.
const MAX_SPEC: usize = 256 << 10;
/// Most bytes of the specifications in a page of jobs.
const MAX_PAGE_BYTES: usize = 2 << 20;
/// Most bytes of a request_id.
const MAX_REQUEST_ID: usize = 64;

impl Core {
    pub(super) fn user_call(&mut self, token: Token, caller: &Caller, call: UserCall) {
        let result = match call {
            UserCall::Create { request_id, spec, id } => self.create(caller, request_id, *spec, id),
            UserCall::Get(id) => self.touch(caller, &id).and_then(|_| self.view(&id)),
            UserCall::Cancel(id) => self.touch(caller, &id).and_then(|who| self.cancel(&id, &who)),
            UserCall::Pause(id) => self.touch(caller, &id).and_then(|who| self.pause(&id, &who)),
            UserCall::Resume(id, accept_class) => {
                self.touch(caller, &id).and_then(|who| self.resume(&id, &who, accept_class))
            }
            UserCall::List(count, before) => return self.reply(token, self.list(caller, count, before)),
            UserCall::Workers => return self.reply(token, Reply::Workers(self.worker_views())),
        };
        self.reply(token, Reply::Job(Box::new(result)));
    }

    /// Refuses jobs that are not there or not the caller's; says who the caller is to the job.
    fn touch(&self, caller: &Caller, id: &JobId) -> Result<String, CallError> {
        let job = self.jobs.get(id).ok_or_else(|| CallError::NotFound(id.clone()))?;
        caller.check(job).map(|()| caller.to_owner(&job.record.owner))
    }

    fn create(
        &mut self,
        caller: &Caller,
        request_id: String,
        spec: v1::JobSpec,
        id: JobId,
    ) -> Result<JobView, CallError> {
        if self.stopping {
            return Err(CallError::Stopping);
        }
        check_request_id(&request_id)?;
        let encoded = spec.encode_to_vec();
        let owner = caller.name().to_owned();
        let request = (owner.clone(), request_id.clone());
        if let Some(earlier) = self.requests.get(&request).and_then(|id| self.jobs.get(id)) {
            let same = earlier.record.spec == encoded;
            return if same { Ok(view(earlier)) } else { Err(CallError::RequestReused(request_id)) };
        }
        let queued = self.jobs.values().filter(|job| job.record.state == JobState::Queued).count();
        if queued >= self.config.max_queued_jobs {
            return Err(CallError::Exhausted { what: "queued jobs", limit: self.config.max_queued_jobs });
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
            created_at: self.now.unix,
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
        let job = Job::new(record, checked, spec.into());
        self.jobs.insert(id.clone(), job);
        self.set_state(&id, JobState::Queued, "queued");
        self.view(&id)
    }

    /// Takes a stored job back in.
    pub(super) fn recover(&mut self, mut record: JobRecord) {
        if record.checkpoint.is_none() {
            // It begins anew, on whatever workers come.
            (record.class, record.description) = (None, None);
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
        let (state, pausing) = (record.state, record.pausing);
        self.created = self.created.max(record.number);
        self.requests.insert((record.owner.clone(), record.request_id.clone()), id.clone());
        let job = Job { since: Some(self.now.elapsed), ..Job::new(record, spec, message.into()) };
        self.jobs.insert(id.clone(), job);
        self.observe(Observation::JobMoved(JobMove { job: id.clone(), from: None, to: state, after: None }));
        if matches!(state, JobState::Preparing | JobState::Running) {
            let next = if pausing { JobState::Paused } else { JobState::Queued };
            self.set_state(&id, next, "the coordinator was restarted");
        }
    }

    fn view(&self, id: &JobId) -> Result<JobView, CallError> {
        self.jobs.get(id).map(view).ok_or_else(|| CallError::NotFound(id.clone()))
    }

    fn list(&self, caller: &Caller, count: usize, before: Option<u64>) -> Reply {
        let before = before.unwrap_or(u64::MAX);
        let wanted = |job: &&Job| job.record.number < before && caller.may_touch(&job.record.owner);
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

    fn cancel(&mut self, id: &JobId, who: &str) -> Result<JobView, CallError> {
        let state = self.view(id)?.record.state;
        if state == JobState::Cancelled {
            return self.view(id);
        }
        if state.is_terminal() {
            return Err(wrong_state(id, "cancel", state));
        }
        tracing::info!(job = %id, "job cancelled");
        self.set_state(id, JobState::Cancelled, &format!("cancelled by {who}"));
        self.release(id);
        self.view(id)
    }

    fn pause(&mut self, id: &JobId, who: &str) -> Result<JobView, CallError> {
        let job = self.jobs.get_mut(id).ok_or_else(|| CallError::NotFound(id.clone()))?;
        let state = job.record.state;
        match (state, job.active.as_ref()) {
            (JobState::Paused, _) => {}
            (JobState::Running, Some(active)) if active.closing() == Some(Closing::Done) => {
                return Err(wrong_state(id, "pause", state));
            }
            (JobState::Running, Some(active)) if !active.members.is_empty() => {
                if !std::mem::replace(&mut job.record.pausing, true) {
                    self.note(id, &format!("{who} wants it paused after the outer step in hand"));
                }
            }
            // Nothing is under way that could be finished: the newest checkpoint is where it goes on.
            (JobState::Queued | JobState::Preparing | JobState::Running, _) => {
                self.set_state(id, JobState::Paused, &format!("paused by {who}"));
                self.release(id);
            }
            _ => return Err(wrong_state(id, "pause", state)),
        }
        self.view(id)
    }

    /// Queues a paused job again. With `accept_class` it may go on in another compute class than the one that it is
    /// bound to; from there on its result is that class's.
    fn resume(&mut self, id: &JobId, who: &str, accept_class: bool) -> Result<JobView, CallError> {
        let job = self.jobs.get_mut(id).ok_or_else(|| CallError::NotFound(id.clone()))?;
        let state = job.record.state;
        match state {
            JobState::Paused => {
                job.excluded.clear();
                let given_up = job.record.class.take_if(|_| accept_class);
                let message = given_up.map_or(format!("resumed by {who}"), |class| {
                    format!("resumed by {who}, who gives up its compute class: {class}")
                });
                self.set_state(id, JobState::Queued, &message);
            }
            JobState::Queued | JobState::Preparing | JobState::Running if !accept_class => {
                if std::mem::take(&mut job.record.pausing) {
                    self.note(id, &format!("{who} wants it to go on"));
                }
            }
            _ => return Err(wrong_state(id, "resume", state)),
        }
        self.view(id)
    }

    fn worker_views(&self) -> Vec<WorkerView> {
        let view = |(session, worker): (_, &super::workers::Worker)| WorkerView {
            session,
            hello: worker.hello.clone(),
            job: worker.job.clone(),
            silent_seconds: self.now.elapsed.saturating_sub(worker.last_seen).as_secs_f64(),
            seconds_per_shard: worker.job.as_ref().and_then(|job| self.seconds_per_shard(job, session)),
            draining: worker.draining,
            shards_done: worker.job.as_ref().map_or(0, |job| self.shards_done(job, session)),
        };
        self.workers.iter().map(view).collect()
    }

    fn seconds_per_shard(&self, job: &JobId, session: lookbehind_common::ids::SessionId) -> Option<f64> {
        self.jobs.get(job)?.active.as_ref()?.members.get(&session)?.seconds_per_shard
    }

    fn shards_done(&self, job: &JobId, session: lookbehind_common::ids::SessionId) -> u64 {
        let active = self.jobs.get(job).and_then(|job| job.active.as_ref());
        active.and_then(|active| active.members.get(&session)).map_or(0, |member| member.shards_done)
    }
}

fn view(job: &Job) -> JobView {
    JobView {
        record: job.record.clone(),
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
