//! What all jobs share: configuration, workers, the time, and the commands collected so far. The steps of a job are
//! methods of [`Cluster`] that take the job as an argument: cluster and job can be borrowed mutably at the same time,
//! and no step has to look up its job.

use std::sync::Arc;

use lookbehind_common::ids::{JobId, SessionId};

use super::active::Member;
use super::arrivals::Arrivals;
use super::command::{Command, WorkerCommand};
use super::event::{Origin, Reply, ReplyTo};
use super::halt::Halt;
use super::job::Job;
use super::observation::{JobMove, Observation};
use super::record::{JobChange, JobState, Notice, NoticeKind};
use super::storage::StorageFailure;
use super::workers::Workers;
use super::{CoreConfig, Now};

/// The coordinator's core without its jobs.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) config: CoreConfig,
    pub(super) workers: Workers,
    /// Who has registered lately.
    pub(super) arrivals: Arrivals,
    /// Whether a shutdown was requested.
    pub(super) stopping: bool,
    /// Why the state cannot be stored now; `None` while it can.
    pub(super) storage_failure: Option<StorageFailure>,
    /// The time of the event being handled.
    pub(super) now: Now,
    /// The commands that the event being handled has produced so far.
    pub(super) commands: Vec<Command>,
    /// Jobs that have ended in the event being handled.
    pub(super) ended: Vec<JobId>,
}

/// Maximum length in bytes of the message in a job's record, which stays in memory when the job has ended. The notice
/// has the whole message.
const MESSAGE: usize = 1024;

/// The beginning of a message.
fn beginning(message: &str) -> &str {
    let boundary = |end: &usize| message.is_char_boundary(*end);
    &message[..(0..=message.len().min(MESSAGE)).rev().find(boundary).unwrap_or(0)]
}

impl Cluster {
    pub(super) fn push(&mut self, command: Command) {
        self.commands.push(command);
    }

    pub(super) fn observe(&mut self, observation: Observation) {
        self.push(Command::Observe(observation));
    }

    pub(super) fn reply(&mut self, reply_to: ReplyTo, reply: Reply) {
        self.push(Command::Reply(reply_to, reply));
    }

    /// Whether a message comes from a worker that is registered with this incarnation of this cluster: its
    /// sender knows the session's secret and has the identity that opened the session.
    pub(super) fn is_current(&self, origin: &Origin) -> bool {
        let Origin { fencing_token, identity } = origin;
        fencing_token.cluster == self.config.cluster
            && fencing_token.incarnation == self.config.incarnation
            && self
                .workers
                .get(fencing_token.session)
                .is_some_and(|worker| worker.secret == fencing_token.secret && worker.identity == *identity)
    }

    /// The reason why a message is not current, for people. It does not tell whether a guessed session exists.
    pub(super) fn stale(&self, origin: &Origin) -> String {
        let fencing_token = &origin.fencing_token;
        if fencing_token.cluster != self.config.cluster {
            format!("cluster {} is not this one, {}", fencing_token.cluster, self.config.cluster)
        } else if fencing_token.incarnation != self.config.incarnation {
            format!("incarnation {} is over, this is {}", fencing_token.incarnation, self.config.incarnation)
        } else {
            format!("session {} is over, or not the sender's", fencing_token.session)
        }
    }

    /// Answers a call that has changed something: not before the changes are stored.
    pub(super) fn acknowledge(&mut self, reply_to: ReplyTo, reply: Reply) {
        self.push(Command::Acknowledge(reply_to, reply));
    }

    /// Notes an event of a job that has no kind of its own.
    pub(super) fn note(&mut self, job: &mut Job, message: &str) {
        self.note_of_kind(job, NoticeKind::Event, message);
    }

    /// Stores a job's record with a notice of what changed. Each notice has the next revision as its key.
    pub(super) fn note_of_kind(&mut self, job: &mut Job, kind: NoticeKind, message: &str) {
        job.record.revision += 1;
        let notice = Notice {
            revision: job.record.revision,
            kind,
            state: job.record.state,
            message: message.to_owned(),
            outer_step: job.outer_step(),
            total_outer_steps: job.record.total_outer_steps,
            digest: job.record.digest,
            at: self.now.unix,
        };
        let is_new = !std::mem::replace(&mut job.spec_stored, true);
        let spec = is_new.then(|| Arc::clone(&job.encoded));
        let change = JobChange { record: job.record.clone(), spec, notices: vec![notice] };
        self.push(Command::Persist(Box::new(change)));
        self.observe(Observation::JobNoted(job.id().clone(), kind, message.to_owned()));
    }

    /// Moves a job to another state and notes the reason.
    pub(super) fn set_state(&mut self, job: &mut Job, state: JobState, message: &str) {
        let from = std::mem::replace(&mut job.record.state, state);
        let since = job.since.replace(self.now.elapsed);
        // A new job was constructed in its first state; for observers it comes from no state.
        let from = since.map(|_| from);
        let after = since.map(|since| self.now.elapsed.saturating_sub(since));
        // A running job needs no reason, and what it said when it began would soon be out of date.
        let reason = if state == JobState::Running { "" } else { beginning(message) };
        reason.clone_into(&mut job.record.message);
        if state.is_terminal() {
            job.record.finished_at = Some(self.now.unix);
            self.ended.push(job.id().clone());
        }
        if state == JobState::Paused || state.is_terminal() {
            job.record.pausing = false;
        }
        self.note_of_kind(job, NoticeKind::State, message);
        self.observe(Observation::JobMoved(JobMove {
            job: job.id().clone(),
            from,
            to: state,
            after,
            name: job.spec.name.clone(),
            owner: job.record.owner.clone(),
            message: message.to_owned(),
        }));
    }

    /// Ends a job's activation, if it has one, and frees its workers. Later events of the activation are stale. A job
    /// without a checkpoint keeps nothing of it.
    pub(super) fn release(&mut self, job: &mut Job) {
        if let Some(active) = job.active.take() {
            job.unbind();
            for (session, member) in active.members {
                let Member { account, missed, passed_over_until, .. } = member;
                job.standings.note_missed(&account, missed, passed_over_until, self.now.elapsed);
                self.free_worker(session, job.id());
            }
            self.push(Command::Unpublish(job.id().clone()));
        }
    }

    /// Marks a member of a job as free and tells it to release the job.
    pub(super) fn free_worker(&mut self, session: SessionId, job: &JobId) {
        match self.workers.get_mut(session) {
            Some(worker) => {
                worker.job = None;
                self.push(Command::Send(session, WorkerCommand::Release(job.clone())));
            }
            // Harmless: a worker without a session cannot deliver anything for the job.
            None => tracing::error!(%job, %session, "internal error: a member of a job is not registered"),
        }
    }

    /// Fails a job and frees its workers.
    pub(super) fn fail(&mut self, job: &mut Job, reason: &str) {
        self.set_state(job, JobState::Failed, reason);
        self.release(job);
    }

    /// Acts on the reason why the handling of an event stopped early.
    pub(super) fn halt(&mut self, job: &mut Job, halt: &Halt) {
        match halt {
            Halt::Stale(what) => tracing::debug!(job = %job.id(), what, "stale event"),
            Halt::Failed(reason) => self.fail(job, reason),
            Halt::Broken(invariant) => {
                tracing::error!(job = %job.id(), invariant, "internal error");
                // A terminal state is final.
                if !job.record.state.is_terminal() {
                    self.fail(job, &format!("internal error of the coordinator: expected that {invariant}"));
                }
            }
        }
    }
}
