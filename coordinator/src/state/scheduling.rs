//! Scheduling: which free worker serves which job.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_common::text::counted;
use lookbehind_proto::v1;
use prost::Message as _;

use super::Core;
use super::active::{Active, Member};
use super::cluster::Cluster;
use super::command::{Command, WorkerCommand};
use super::event::Activation;
use super::halt::{Halt, Handled};
use super::job::Job;
use super::record::JobState;
use super::second_identity::WAITS_FOR_SECOND;
use super::sharing::claim;
use super::workers::Worker;

/// What is next to start.
pub(super) enum Next {
    /// This job, on these workers.
    Start(JobId, Vec<SessionId>),
    /// This job, when there are enough free workers.
    Blocked(JobId),
}

impl Core {
    /// Assigns free workers to jobs: first to queued jobs in their order, then to active jobs that accept more.
    pub(super) fn schedule(&mut self) {
        // Most events free no worker: they do not walk over the jobs.
        if self.cluster.stopping || self.cluster.workers.free().next().is_none() {
            return;
        }
        let blocked = loop {
            match self.next_start() {
                Some(Next::Start(job, workers)) => self.start(&job, workers),
                Some(Next::Blocked(job)) => break Some(job),
                None => break None,
            }
        };
        while let Some((job, worker)) = self.next_addition(blocked.as_ref()) {
            self.on_job(&job, |cluster, job| cluster.add_member(job, worker));
        }
        self.tell_what_is_missing();
    }

    /// Workers that are free and can serve the job.
    pub(super) fn eligible(&self, job: &Job) -> Vec<SessionId> {
        self.cluster.workers.free().filter(|session| self.cluster.may_serve(job, *session)).collect()
    }

    /// Workers that can serve the job and are not about to leave, free or not.
    pub(super) fn able(&self, job: &Job) -> Vec<SessionId> {
        let staying = self.cluster.workers.iter().filter(|(_, worker)| !worker.draining);
        staying.map(|(session, _)| session).filter(|session| self.cluster.may_serve(job, *session)).collect()
    }

    /// Whether a job is queued and nothing but workers is missing.
    pub(super) fn may_start(&self, job: &Job) -> bool {
        job.record.state == JobState::Queued && self.has_memory(job)
    }

    /// The queued jobs that may start, in the order in which they do: of those of the highest priority, the oldest of the
    /// user who has had least of the workers. Jobs for which there is no memory, or whose user has as many active jobs as
    /// users may have, are left out.
    pub(super) fn queue(&self) -> Vec<&Job> {
        let busy = self.busy_users();
        let startable = |job: &&Job| self.may_start(job) && !busy.contains(job.record.owner.as_str());
        let mut queued: Vec<&Job> = self.jobs.values().filter(startable).collect();
        queued.sort_unstable_by_key(|job| self.place_in_queue(job));
        queued
    }

    /// Of two queued jobs, the one with the lower value starts first.
    pub(super) fn place_in_queue(&self, job: &Job) -> impl Ord + use<> {
        (job.precedence(), self.turns.of(&job.record.owner), job.record.number)
    }

    /// The workers on which a job can start now; `None` if too few are free.
    fn startable(&self, job: &Job) -> Option<Vec<SessionId>> {
        let workers = self.cluster.chosen(job, self.eligible(job));
        self.cluster.suffice(job, &workers).then_some(workers)
    }

    /// Whether a job that cannot start now holds back the jobs after it, so that it is not starved by smaller ones. It
    /// does not if it could not start even with all workers free.
    pub(super) fn holds_back(&self, job: &Job) -> bool {
        let could_start = || self.cluster.suffice(job, &self.cluster.chosen(job, self.able(job)));
        self.startable(job).is_none() && could_start()
    }

    /// The next job to start, or the first one that holds back those after it.
    pub(super) fn next_start(&self) -> Option<Next> {
        for job in self.queue() {
            if let Some(workers) = self.startable(job) {
                return Some(Next::Start(job.id().clone(), workers));
            }
            if self.holds_back(job) {
                return Some(Next::Blocked(job.id().clone()));
            }
        }
        None
    }

    /// Whether an active job takes more workers. One that makes way does not, nor one of a lower priority than that of
    /// the job that waits, where running jobs make way for it.
    pub(super) fn is_open(&self, job: &Job, blocked: Option<&JobId>) -> bool {
        let waiting =
            blocked.filter(|_| self.cluster.config.sharing.preempt).and_then(|id| self.jobs.get(id));
        let makes_way = waiting.is_some_and(|waiting| waiting.precedence() < job.precedence());
        let takes = |active: &Active| active.members.len() < job.max_workers() && !active.preempted;
        !makes_way && job.active.as_ref().is_some_and(takes)
    }

    /// The order in which active jobs get free workers, the first one first.
    pub(super) fn order_of_addition<'a>(
        &self,
        job: &'a Job,
        held: &BTreeMap<&str, usize>,
    ) -> (Reverse<i32>, u64, &'a str, usize, u64) {
        let owner = job.record.owner.as_str();
        let claim = claim(held.get(owner).copied().unwrap_or(0), self.cluster.config.sharing.share(owner));
        let members = job.active.as_ref().map_or(0, |active| active.members.len());
        (job.precedence(), claim, owner, members, job.record.number)
    }

    /// The next worker to join an active job: of those of the highest priority, the job with the fewest workers of the
    /// user who has the fewest for their share.
    fn next_addition(&self, blocked: Option<&JobId>) -> Option<(JobId, SessionId)> {
        self.cluster.workers.free().next()?;
        let mut open: Vec<&Job> = self.jobs.values().filter(|job| self.is_open(job, blocked)).collect();
        let held = self.held();
        open.sort_unstable_by_key(|job| self.order_of_addition(job, &held));
        let next = |job: &Job| self.cluster.chosen(job, self.eligible(job)).first().copied();
        open.into_iter().find_map(|job| Some((job.id().clone(), next(job)?)))
    }

    /// Says of queued jobs that only a second identity is missing.
    fn tell_what_is_missing(&mut self) {
        let min = |job: &Job| job.spec.resources.min_workers as usize;
        let is_new = |job: &&Job| {
            let is_queued = job.record.state == JobState::Queued && job.spec.resources.verify > 0;
            is_queued && job.record.message != WAITS_FOR_SECOND
        };
        let lacks_second = |job: &&Job| {
            let workers = self.eligible(job);
            workers.len() >= min(job) && !self.cluster.can_verify(job, workers)
        };
        let ids = self.jobs.values().filter(is_new).filter(lacks_second).map(|job| job.id().clone());
        for id in ids.collect::<Vec<_>>() {
            self.on_job(&id, |cluster, job| {
                WAITS_FOR_SECOND.clone_into(&mut job.record.message);
                cluster.note_of_worker(job, WAITS_FOR_SECOND);
                Ok(())
            });
        }
    }

    fn start(&mut self, id: &JobId, workers: Vec<SessionId>) {
        self.activations += 1;
        let activation = Activation(self.activations);
        if let Some(job) = self.jobs.get(id) {
            // However short it is: a start counts as a tick with its workers.
            let (owner, time) = (job.record.owner.as_str(), self.cluster.config.heartbeat_interval() / 2);
            self.turns.charge(owner, workers.len(), time, self.cluster.config.sharing.share(owner));
        }
        self.on_job(id, |cluster, job| {
            let message = v1::JobSpec::decode(&*job.encoded)
                .map_err(|_| Halt::Broken("a specification that was accepted can be decoded"))?;
            job.active = Some(Active::new(activation, Arc::new(message)));
            let message = format!("preparing on {}", counted(workers.len() as u64, "worker"));
            cluster.set_state(job, JobState::Preparing, &message);
            tracing::info!(job = %job.id(), workers = workers.len(), "job prepares");
            workers.into_iter().try_for_each(|session| cluster.add_member(job, session))
        });
    }
}

impl Cluster {
    /// Whether a job may ask a worker to prepare it.
    pub(super) fn may_serve(&self, job: &Job, session: SessionId) -> bool {
        let account = self.workers.get(session).map(Worker::account);
        !job.excluded.contains_key(&session)
            && account.is_some_and(|account| !job.standings.is_kept_away(&account, self.now.elapsed))
    }

    /// The workers out of `offered` that a job takes in addition to those that it has. A job that verifies keeps its last
    /// place for a worker of a second identity.
    pub(super) fn chosen(&self, job: &Job, offered: Vec<SessionId>) -> Vec<SessionId> {
        let members = job.active.iter().flat_map(|active| active.members.keys().copied());
        let mut taken: Vec<SessionId> = members.collect();
        let had = taken.len();
        let mut parties = self.workers.parties(taken.iter().copied());
        for session in offered {
            let left = job.max_workers().saturating_sub(taken.len());
            let party = self.workers.party(session);
            let is_second = parties.len() != 1 || !parties.contains(&party);
            if left > 1 || (left == 1 && (job.spec.resources.verify == 0 || is_second)) {
                taken.push(session);
                parties.insert(party);
            }
        }
        taken.split_off(had)
    }

    /// Whether a job can start on these workers.
    pub(super) fn suffice(&self, job: &Job, workers: &[SessionId]) -> bool {
        workers.len() >= job.spec.resources.min_workers as usize
            && self.can_verify(job, workers.iter().copied())
    }

    /// The job that a worker serves.
    pub(super) fn serves(&self, session: SessionId) -> Option<&JobId> {
        self.workers.get(session)?.job.as_ref()
    }

    fn add_member(&mut self, job: &mut Job, session: SessionId) -> Handled {
        let worker =
            self.workers.get_mut(session).ok_or(Halt::Broken("a worker that is free is registered"))?;
        worker.job = Some(job.id().clone());
        let account = worker.account();
        let (missed, passed_over_until) = job.standings.missed(&account, self.now.elapsed);
        let active = job.require_active_mut()?;
        active.members.insert(session, Member::new(self.now.elapsed, account, missed, passed_over_until));
        active.without_workers_since = None;
        let message = Arc::clone(&active.message);
        let prepare = WorkerCommand::Prepare(job.id().clone(), message);
        self.push(Command::Send(session, prepare));
        Ok(())
    }
}
