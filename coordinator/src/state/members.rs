//! Registration, messages and loss of workers.

use std::sync::Arc;

use lookbehind_common::BUILD_VERSION;
use lookbehind_common::ids::{FencingToken, SessionId, SessionSecret};
use lookbehind_common::text::{is_active, is_harmless, printable};
use lookbehind_proto::PROTOCOL_VERSION;

use super::Core;
use super::cluster::Cluster;
use super::command::{Command, WorkerCommand};
use super::describing::Claim;
use super::event::{LossCause, Origin, Refusal, Registration, Reply, ReplyTo, WorkerMessage};
use super::observation::{LostWorker, Observation};
use super::parties::Account;

/// Maximum length in bytes of a worker's name, version and device, each.
const MAX_TEXT: usize = 256;

impl Core {
    /// Registers a worker, or answers why it is refused.
    pub(super) fn register(
        &mut self,
        reply_to: ReplyTo,
        registration: Registration,
        identity: Option<Arc<str>>,
        secret: SessionSecret,
    ) {
        let name = registration.name.clone();
        if !self.may_arrive(&registration, identity.as_ref()) {
            // Without a line in the log or on the dashboard: whoever comes too often would fill them.
            let reason = "it registers too often; try again later".to_owned();
            let refusal = Refusal { reason, retryable: true };
            return self.cluster.reply(reply_to, Reply::Registered(Err(refusal)));
        }
        let outcome = self.check_registration(&registration, identity.as_deref()).map(|()| {
            let session = self.cluster.workers.add(registration, identity, secret, self.cluster.now.elapsed);
            let name = self.cluster.workers.shared_name(session);
            tracing::info!(worker = &*name, %session, "worker joined");
            self.cluster.observe(Observation::WorkerJoined(session, name));
            FencingToken {
                cluster: self.cluster.config.cluster.clone(),
                incarnation: self.cluster.config.incarnation,
                session,
                secret,
            }
        });
        if let Err(refusal) = &outcome {
            // The name of a refused worker is unchecked: strip and cut it before it reaches logs and dashboard.
            let name = name.chars().filter(|letter| !is_active(*letter)).take(MAX_TEXT).collect();
            self.cluster.observe(Observation::WorkerRefused(name, refusal.reason.clone()));
        }
        self.cluster.reply(reply_to, Reply::Registered(outcome));
    }

    /// Whether the worker's account has not registered too often lately.
    fn may_arrive(&mut self, registration: &Registration, identity: Option<&Arc<str>>) -> bool {
        let name: String = registration.name.chars().take(MAX_TEXT).collect();
        let account = Account::new(identity, &name.into());
        let Cluster { arrivals, config, now, .. } = &mut self.cluster;
        arrivals.admit(account, config.max_workers_per_identity, now.elapsed)
    }

    fn check_registration(&self, registration: &Registration, identity: Option<&str>) -> Result<(), Refusal> {
        let refuse = |reason: String| Err(Refusal { reason, retryable: false });
        let fits = |text: &str| text.len() <= MAX_TEXT && is_harmless(text);
        // Checked first, because the reasons below quote what the worker sent.
        let texts = [&registration.name, &registration.version, &registration.device];
        if registration.name.is_empty() || !texts.into_iter().all(|text| fits(text)) {
            return refuse(format!(
                "worker name, version and device: expected at most {MAX_TEXT} printable bytes each, and a name"
            ));
        }
        let address = registration.endpoint.as_ref().map(|endpoint| &endpoint.address);
        if address.is_some_and(|address| !fits(address) || !address.contains(':')) {
            return refuse(format!(
                "the worker's address for other workers: expected a host and a port in {MAX_TEXT} printable bytes"
            ));
        }
        if registration.protocol != PROTOCOL_VERSION {
            return refuse(format!(
                "worker {:?} speaks protocol {}, the coordinator {PROTOCOL_VERSION}",
                registration.name, registration.protocol
            ));
        }
        if registration.version != BUILD_VERSION {
            return refuse(format!(
                "worker {:?} has version {}, the coordinator {BUILD_VERSION}",
                registration.name, registration.version
            ));
        }
        if self.cluster.stopping {
            return Err(Refusal { reason: "the coordinator is shutting down".into(), retryable: true });
        }
        if self.cluster.workers.len() >= self.cluster.config.max_workers {
            let reason = format!("workers: the limit of {} is reached", self.cluster.config.max_workers);
            return Err(Refusal { reason, retryable: true });
        }
        if let Some(identity) = identity {
            let limit = self.cluster.config.max_workers_per_identity;
            if self.cluster.workers.with_identity(identity) >= limit {
                let reason =
                    format!("workers with the identity {identity:?}: the limit of {limit} is reached");
                return Err(Refusal { reason, retryable: true });
            }
        }
        Ok(())
    }

    /// Handles a worker's message, if it is current.
    pub(super) fn worker_message(&mut self, origin: &Origin, message: WorkerMessage) {
        let session = origin.session();
        if !self.cluster.is_current(origin) {
            tracing::debug!(%session, "stale message: {}", self.cluster.stale(origin));
            return;
        }
        self.cluster.workers.note_heard(session, self.cluster.now.elapsed);
        match message {
            WorkerMessage::Heartbeat(progress) => {
                self.cluster.workers.note_progress(session, progress, self.cluster.now.elapsed);
            }
            WorkerMessage::Prepared { job, description, mut class } => {
                class.description = printable(&class.description).into_owned();
                let left = self.left(&job);
                self.on_job(&job, |cluster, job| {
                    let party = cluster.workers.party(session);
                    let at = cluster.now.elapsed;
                    let claim = Claim { session, party, description, class, at };
                    cluster.prepared(job, claim, left)
                });
            }
            WorkerMessage::PrepareFailed { job, fault, reason } => {
                let reason = printable(&reason);
                self.on_job(&job, |cluster, job| cluster.prepare_failed(job, session, fault, &reason));
            }
            WorkerMessage::RequestFailed { request, segment, reason } => {
                let reason = printable(&reason);
                self.on_job(&request.job, |cluster, job| {
                    cluster.request_failed(job, session, &request, segment, &reason)
                });
            }
            WorkerMessage::Computed(computed) => self.take_computed(origin, computed),
            WorkerMessage::Audited { request, audited } => {
                self.on_job(&request.job, |cluster, job| cluster.audited(job, session, &request, &audited));
            }
            WorkerMessage::Reduced { request, blocks, addends } => {
                self.on_job(&request.job, |cluster, job| {
                    cluster.reduced(job, session, &request, blocks, addends)
                });
            }
            WorkerMessage::Unreachable { request, other, reason } => {
                let reason = printable(&reason);
                self.on_job(&request.job, |cluster, job| {
                    cluster.unreachable(job, session, &request, other, &reason)
                });
            }
            WorkerMessage::TransferFailed { job, request, reason } => {
                let reason = printable(&reason);
                self.on_job(&job, |cluster, job| {
                    cluster.transfer_failed(job, session, request.as_ref(), &reason)
                });
            }
            WorkerMessage::Draining => self.drain(session),
        }
    }

    /// Removes a lost worker. All paths that detect a loss end here, so that its consequences are drawn once.
    pub(super) fn lose_worker(&mut self, session: SessionId, cause: &LossCause) {
        let Some(worker) = self.cluster.workers.remove(session) else {
            // Several paths may detect the same loss; the first one has handled it.
            return;
        };
        let name = Arc::clone(&worker.name);
        tracing::info!(worker = &*name, %session, %cause, "worker lost");
        if *cause != LossCause::StreamClosed {
            // The worker may be alive: it must learn that its session is over.
            let refused = WorkerCommand::Refused(format!("the worker was given up: {cause}"));
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
                cluster.note_of_worker(job, &format!("worker {name} lost: {cause}"));
                cluster.leave_job(job, session)
            });
        }
    }

    /// A worker announces that it leaves: it leaves its job at once and gets no other one.
    fn drain(&mut self, session: SessionId) {
        let Some(worker) = self.cluster.workers.get_mut(session) else {
            // Cannot happen: `worker_message` has checked that the worker is registered.
            return;
        };
        worker.draining = true;
        let name = Arc::clone(&worker.name);
        let job = worker.job.take();
        tracing::info!(worker = %name, %session, "worker leaves");
        self.cluster.observe(Observation::WorkerLeaves(Arc::clone(&name), job.clone()));
        if let Some(id) = job {
            self.on_job(&id, |cluster, job| {
                cluster.note_of_worker(job, &format!("worker {name} leaves"));
                cluster.leave_job(job, session)
            });
            self.cluster.push(Command::Send(session, WorkerCommand::Release(id)));
        }
    }
}
