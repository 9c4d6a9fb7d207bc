//! Scheduling: which free worker serves which job.

use std::sync::Arc;

use lookbehind_common::ids::{JobId, SessionId};
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

impl Core {
    /// Assigns free workers to jobs: first to queued jobs in their order, then to active jobs that accept more.
    pub(super) fn schedule(&mut self) {
        if self.cluster.stopping {
            return;
        }
        while let Some((job, workers)) = self.next_start() {
            self.start(&job, workers);
        }
        while let Some((job, worker)) = self.next_addition() {
            self.on_job(&job, |cluster, job| cluster.add_member(job, worker));
        }
    }

    /// Workers that are free and can serve the job.
    fn eligible(&self, job: &Job) -> Vec<SessionId> {
        self.cluster.workers.free().filter(|session| !job.excluded.contains_key(session)).collect()
    }

    /// The next job to start, with its workers: the oldest of the highest priority. A job that lacks free workers
    /// blocks the jobs after it, so that it is not starved by smaller ones. It does not block them if it could not
    /// start even with all workers free, or if there is no memory for it.
    fn next_start(&self) -> Option<(JobId, Vec<SessionId>)> {
        let startable = |job: &&Job| job.record.state == JobState::Queued && self.has_memory(job);
        let mut queued: Vec<&Job> = self.jobs.values().filter(startable).collect();
        queued.sort_unstable_by_key(|job| (job.precedence(), job.record.number));
        for job in queued {
            let min = job.spec.resources.min_workers as usize;
            let mut workers = self.eligible(job);
            if workers.len() >= min {
                workers.truncate(job.max_workers());
                return Some((job.id().clone(), workers));
            }
            let all = self
                .cluster
                .workers
                .iter()
                .filter(|(session, worker)| !worker.draining && !job.excluded.contains_key(session));
            if all.count() >= min {
                return None;
            }
        }
        None
    }

    /// The next worker to join an active job: among those of the highest priority, the job with the fewest workers.
    fn next_addition(&self) -> Option<(JobId, SessionId)> {
        let members = |job: &Job| job.active.as_ref().map(|active| active.members.len());
        let open = |job: &&Job| members(job).is_some_and(|members| members < job.max_workers());
        let mut open: Vec<&Job> = self.jobs.values().filter(open).collect();
        open.sort_unstable_by_key(|job| (job.precedence(), members(job), job.record.number));
        open.into_iter().find_map(|job| Some((job.id().clone(), *self.eligible(job).first()?)))
    }

    fn start(&mut self, id: &JobId, workers: Vec<SessionId>) {
        self.activations += 1;
        let activation = Activation(self.activations);
        self.on_job(id, |cluster, job| {
            let message = v1::JobSpec::decode(&*job.encoded)
                .map_err(|_| Halt::Broken("a specification that was accepted can be decoded"))?;
            job.active = Some(Active::new(activation, Arc::new(message)));
            let message = format!("preparing on {} workers", workers.len());
            cluster.set_state(job, JobState::Preparing, &message);
            tracing::info!(job = %job.id(), workers = workers.len(), "job prepares");
            workers.into_iter().try_for_each(|session| cluster.add_member(job, session))
        });
    }
}

impl Cluster {
    fn add_member(&mut self, job: &mut Job, session: SessionId) -> Handled {
        let worker =
            self.workers.get_mut(session).ok_or(Halt::Broken("a worker that is free is registered"))?;
        worker.job = Some(job.id().clone());
        let active = job.require_active_mut()?;
        active.members.insert(session, Member { since: self.now.elapsed, ..Member::default() });
        active.without_workers_since = None;
        let message = Arc::clone(&active.message);
        let prepare = WorkerCommand::Prepare(job.id().clone(), message);
        self.push(Command::Send(session, prepare));
        Ok(())
    }
}
