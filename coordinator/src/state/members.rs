//! Workers that come, speak and go.

use std::sync::Arc;

use lookbehind_common::BUILD_VERSION;
use lookbehind_common::ids::{Fence, JobId, SessionId};
use lookbehind_proto::PROTOCOL_VERSION;

use super::Core;
use super::command::{Command, ToWorker};
use super::event::{Hello, LossCause, Refusal, Reply, Token, WorkerSays};
use super::job::{Phase, Stage};
use super::observation::{LostWorker, Observation};
use super::record::JobState;

/// Most bytes of a worker's name, version and device.
const MAX_TEXT: usize = 256;

impl Core {
    /// Lets a worker in, or says why not.
    pub(super) fn register(&mut self, token: Token, hello: Hello) {
        let name = hello.name.clone();
        let outcome = self.check_hello(&hello).map(|()| {
            let session = self.workers.add(hello, self.now.elapsed);
            tracing::info!(worker = name, %session, "worker joined");
            self.observe(Observation::WorkerJoined(session, name.as_str().into()));
            Fence { cluster: self.config.cluster.clone(), incarnation: self.config.incarnation, session }
        });
        if let Err(refusal) = &outcome {
            // It may be anything, of any length.
            let name = name.chars().filter(|letter| !letter.is_control()).take(MAX_TEXT).collect();
            self.observe(Observation::WorkerRefused(name, refusal.reason.clone()));
        }
        self.reply(token, Reply::Registered(outcome));
    }

    fn check_hello(&self, hello: &Hello) -> Result<(), Refusal> {
        let refuse = |reason: String| Err(Refusal { reason, retryable: false });
        let printable = |text: &str| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        // First, because the other reasons repeat what the worker says of itself.
        let texts = [&hello.name, &hello.version, &hello.device];
        if hello.name.is_empty() || !texts.into_iter().all(|text| printable(text)) {
            return refuse(format!(
                "worker name, version and device: expected at most {MAX_TEXT} printable bytes each, and a name"
            ));
        }
        if hello.protocol != PROTOCOL_VERSION {
            return refuse(format!(
                "worker {:?} speaks protocol {}, the coordinator {PROTOCOL_VERSION}",
                hello.name, hello.protocol
            ));
        }
        if hello.version != BUILD_VERSION {
            return refuse(format!(
                "worker {:?} has version {}, the coordinator {BUILD_VERSION}",
                hello.name, hello.version
            ));
        }
        if self.stopping {
            return Err(Refusal { reason: "the coordinator is shutting down".into(), retryable: true });
        }
        if self.workers.len() >= self.config.max_workers {
            let reason = format!("workers: the limit of {} is reached", self.config.max_workers);
            return Err(Refusal { reason, retryable: true });
        }
        Ok(())
    }

    /// Takes what a worker says, if it is one of this incarnation.
    pub(super) fn worker_says(&mut self, fence: &Fence, says: WorkerSays) {
        if !self.is_current(fence) {
            tracing::debug!(session = %fence.session, "stale message: {}", self.stale(fence));
            return;
        }
        let session = fence.session;
        if let Some(worker) = self.workers.get_mut(session) {
            worker.last_seen = self.now.elapsed;
        }
        match says {
            WorkerSays::Heartbeat(progress) => {
                self.workers.note_progress(session, progress, self.now.elapsed)
            }
            WorkerSays::Prepared(job, description, class) => self.prepared(session, &job, description, class),
            WorkerSays::PrepareFailed(job, fault, reason) => {
                self.prepare_failed(session, &job, fault, &reason);
            }
            WorkerSays::WorkFailed(work, node, reason) => self.work_failed(session, &work, node, &reason),
            WorkerSays::Draining => self.drain(session),
        }
    }

    /// A worker is gone: the one place where that has consequences, whichever path saw it.
    pub(super) fn lose_worker(&mut self, session: SessionId, cause: &LossCause) {
        let Some(worker) = self.workers.remove(session) else { return };
        let name = worker.hello.name;
        tracing::info!(worker = name, %session, %cause, "worker gone");
        if *cause != LossCause::StreamClosed {
            self.push(Command::Send(session, ToWorker::Refused(format!("the worker was given up: {cause}"))));
        }
        self.push(Command::Disconnect(session));
        let (cause_told, job) = (cause.clone(), worker.job.clone());
        let lost =
            LostWorker { session, worker: worker.name, cause: cause_told, job, draining: worker.draining };
        self.observe(Observation::WorkerLost(lost));
        if let Some(job) = worker.job {
            self.note(&job, &format!("worker {name} gone: {cause}"));
            self.leave_job(session, &job);
        }
    }

    /// A worker is about to leave: what it has in hand goes to others once it is gone.
    fn drain(&mut self, session: SessionId) {
        let Some(worker) = self.workers.get_mut(session) else { return };
        worker.draining = true;
        let job = worker.job.take();
        tracing::info!(worker = worker.hello.name, %session, "worker leaves");
        let leaves = Observation::WorkerLeaves(Arc::clone(&worker.name), job.clone());
        self.observe(leaves);
        if let Some(job) = job {
            let name = self.workers.name(session);
            self.note(&job, &format!("worker {name} leaves"));
            self.leave_job(session, &job);
            self.push(Command::Send(session, ToWorker::Release(job)));
        }
    }

    /// Takes a worker out of a job; its unfinished nodes go to the others.
    pub(super) fn leave_job(&mut self, session: SessionId, id: &JobId) {
        let now = self.now.elapsed;
        let Some(job) = self.jobs.get_mut(id) else { return };
        let refused = job.excluded.contains_key(&session);
        let Some(active) = job.active.as_mut() else { return };
        active.members.remove(&session);
        if active.members.is_empty() {
            active.alone_since = Some(now);
            if job.record.pausing && active.closing().is_none() {
                // Nobody is left to finish the outer step: the newest checkpoint is where it goes on.
                self.set_state(id, JobState::Paused, "paused by its user");
                return self.release(id);
            }
            self.unbind_class(id);
        }
        let Some(active) = self.active_mut(id) else { return };
        match &mut active.stage {
            // Nobody else may know yet what the job is: whoever answers next is asked.
            Stage::Drawing(drawing) if *drawing == session => self.draw_elsewhere(id),
            Stage::Training(training) => {
                if let Phase::Gathering(_, work) = &mut training.phase {
                    work.withdraw(session);
                }
                self.assign_rest(id);
            }
            _ => {}
        }
        // One that is only gone may come back: where it was not refused, the job waits.
        if refused {
            self.stop_if_nobody_can(id);
        }
        self.wait_if_abandoned(id);
    }
}
