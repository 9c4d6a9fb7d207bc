//! Workers that come, speak and go.

use std::sync::Arc;

use lookbehind_common::BUILD_VERSION;
use lookbehind_common::ids::{FencingToken, SessionId};
use lookbehind_proto::PROTOCOL_VERSION;

use super::Core;
use super::command::{Command, ToWorker};
use super::event::{Hello, LossCause, Refusal, Reply, ReplyTo, WorkerSays};
use super::observation::{LostWorker, Observation};

/// Most bytes of a worker's name, version and device.
const MAX_TEXT: usize = 256;

impl Core {
    /// Lets a worker in, or says why not.
    pub(super) fn register(&mut self, reply_to: ReplyTo, hello: Hello) {
        let name = hello.name.clone();
        let outcome = self.check_hello(&hello).map(|()| {
            let session = self.cluster.workers.add(hello, self.cluster.now.elapsed);
            tracing::info!(worker = name, %session, "worker joined");
            self.cluster.observe(Observation::WorkerJoined(session, name.as_str().into()));
            FencingToken {
                cluster: self.cluster.config.cluster.clone(),
                incarnation: self.cluster.config.incarnation,
                session,
            }
        });
        if let Err(refusal) = &outcome {
            // It may be anything, of any length.
            let name = name.chars().filter(|letter| !letter.is_control()).take(MAX_TEXT).collect();
            self.cluster.observe(Observation::WorkerRefused(name, refusal.reason.clone()));
        }
        self.cluster.reply(reply_to, Reply::Registered(outcome));
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
        if self.cluster.stopping {
            return Err(Refusal { reason: "the coordinator is shutting down".into(), retryable: true });
        }
        if self.cluster.workers.len() >= self.cluster.config.max_workers {
            let reason = format!("workers: the limit of {} is reached", self.cluster.config.max_workers);
            return Err(Refusal { reason, retryable: true });
        }
        Ok(())
    }

    /// Takes what a worker says, if it is one of this incarnation.
    pub(super) fn worker_says(&mut self, fencing_token: &FencingToken, says: WorkerSays) {
        let session = fencing_token.session;
        if !self.cluster.is_current(fencing_token) {
            tracing::debug!(%session, "stale message: {}", self.cluster.stale(fencing_token));
            return;
        }
        self.cluster.workers.note_heard(session, self.cluster.now.elapsed);
        match says {
            WorkerSays::Heartbeat(progress) => {
                self.cluster.workers.note_progress(session, progress, self.cluster.now.elapsed);
            }
            WorkerSays::Prepared { job, description, class } => {
                let memory_left = self.memory_left(&job);
                self.on_job(&job, |cluster, job| {
                    cluster.prepared(job, session, &description, class, memory_left)
                });
            }
            WorkerSays::PrepareFailed { job, fault, reason } => {
                self.on_job(&job, |cluster, job| cluster.prepare_failed(job, session, fault, &reason));
            }
            WorkerSays::WorkFailed { work, segment, reason } => {
                self.on_job(&work.job, |cluster, job| {
                    cluster.work_failed(job, session, &work, segment, &reason)
                });
            }
            WorkerSays::Draining => self.drain(session),
        }
    }

    /// A worker is gone: the one place where that has consequences, whichever path saw it.
    pub(super) fn lose_worker(&mut self, session: SessionId, cause: &LossCause) {
        let Some(worker) = self.cluster.workers.remove(session) else {
            // Several paths may see the same loss; the first one has drawn the consequences.
            return;
        };
        let name = worker.hello.name;
        tracing::info!(worker = name, %session, %cause, "worker gone");
        if *cause != LossCause::StreamClosed {
            let refused = ToWorker::Refused(format!("the worker was given up: {cause}"));
            self.cluster.push(Command::Send(session, refused));
        }
        self.cluster.push(Command::Disconnect(session));
        self.cluster.observe(Observation::WorkerLost(LostWorker {
            session,
            worker: worker.name,
            cause: cause.clone(),
            job: worker.job.clone(),
            draining: worker.draining,
        }));
        if let Some(job) = worker.job {
            self.on_job(&job, |cluster, job| {
                cluster.note(job, &format!("worker {name} gone: {cause}"));
                cluster.leave_job(job, session)
            });
        }
    }

    /// A worker is about to leave: what it has in hand goes to others once it is gone.
    fn drain(&mut self, session: SessionId) {
        let Some(worker) = self.cluster.workers.get_mut(session) else {
            // What it says is only heard while it is registered.
            return;
        };
        worker.draining = true;
        let name = Arc::clone(&worker.name);
        let job = worker.job.take();
        tracing::info!(worker = %name, %session, "worker leaves");
        self.cluster.observe(Observation::WorkerLeaves(Arc::clone(&name), job.clone()));
        if let Some(id) = job {
            self.on_job(&id, |cluster, job| {
                cluster.note(job, &format!("worker {name} leaves"));
                cluster.leave_job(job, session)
            });
            self.cluster.push(Command::Send(session, ToWorker::Release(id)));
        }
    }
}
