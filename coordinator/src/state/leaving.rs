//! Workers that leave a job, and jobs that are left without workers.

use std::time::Duration;

use lookbehind_common::ids::SessionId;

use super::Core;
use super::active::Stage;
use super::checkpoints::MADE_WAY;
use super::cluster::Cluster;
use super::event::Fault;
use super::halt::{Halt, Handled};
use super::job::{Exclusion, Ground, Job};
use super::parties::Party;
use super::record::JobState;

/// What becomes of a running job for which no worker comes within the grace period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WorkerGraceThen {
    /// It waits in the queue, and goes on from its newest checkpoint when workers come.
    #[default]
    Queue,
    /// It fails.
    Fail,
}

/// A report that no worker can prepare a job. It is a claim and not yet a fact.
#[derive(Debug)]
pub(crate) struct FaultClaim {
    party: Party,
    /// Name of the worker.
    worker: String,
}

/// Characters of a reason of a worker that go to the log.
const LOGGED: usize = 300;

impl Cluster {
    /// Handles a worker's report that it could not load a job.
    pub(super) fn prepare_failed(
        &mut self,
        job: &mut Job,
        session: SessionId,
        fault: Fault,
        reason: &str,
    ) -> Handled {
        let now = self.now.elapsed;
        let active = job.with_member(session)?;
        let member = active.members.get_mut(&session).filter(|member| !member.failed);
        let member = member.ok_or(Halt::Stale("the worker has said before that it failed"))?;
        member.failed = true;
        let account = member.account.clone();
        job.standings.note_failure(&account, now);
        match fault {
            Fault::Job => self.job_blamed(job, session, reason),
            Fault::Worker => self.exclude(job, session, reason, Ground::Failure),
            // The worker leaves next. It is not excluded, so that the job waits for it, or for another worker, as it
            // does after any loss.
            Fault::Device => {
                let name = self.workers.name(session);
                tracing::warn!(job = %job.id(), worker = name, reason = logged(reason), "worker lost its device");
                self.note_of_worker(job, &format!("worker {name} failed: {reason}"));
                Ok(())
            }
        }
    }

    /// A worker says that nobody can prepare the job. Where others may know better the worker is excluded. The job fails
    /// if a second party says so, unless it has begun, or as many workers are prepared.
    pub(super) fn job_blamed(&mut self, job: &mut Job, session: SessionId, reason: &str) -> Handled {
        let party = self.workers.party(session);
        job.faults.retain(|earlier| earlier.party != party);
        job.faults.push(FaultClaim { party, worker: self.workers.name(session) });
        let active = job.require_active()?;
        let claims = active.claims.iter().map(|claim| claim.session);
        let mut sound = self.workers.parties(active.prepared().chain(claims));
        sound.retain(|party| job.faults.iter().all(|fault| fault.party != *party));
        if !job.has_begun() && job.faults.len() > sound.len().max(1) {
            let workers: Vec<&str> = job.faults.iter().map(|fault| fault.worker.as_str()).collect();
            return Err(Halt::Failed(format!("workers {}: {reason}", workers.join(" and "))));
        }
        self.exclude(job, session, reason, Ground::Failure)
    }

    /// Removes a worker from a job that it cannot serve.
    pub(super) fn exclude(
        &mut self,
        job: &mut Job,
        session: SessionId,
        reason: &str,
        ground: Ground,
    ) -> Handled {
        let name = self.workers.name(session);
        tracing::warn!(job = %job.id(), worker = name, reason = logged(reason), "worker refused for the job");
        let exclusion = Exclusion { worker: name.clone(), reason: reason.to_owned(), ground };
        if job.excluded.len() >= self.config.max_workers {
            // Sessions that are over would otherwise collect here for as long as the job lasts.
            job.excluded.retain(|session, _| self.workers.get(*session).is_some());
        }
        job.excluded.insert(session, exclusion);
        self.note_of_worker(job, &format!("worker {name} refused: {reason}"));
        self.free_worker(session, job.id());
        self.leave_job(job, session)
    }

    /// Removes a worker from a job; its unfinished segments go to the other members.
    pub(super) fn leave_job(&mut self, job: &mut Job, session: SessionId) -> Handled {
        let refused = job.excluded.contains_key(&session);
        let now = self.now.elapsed;
        let active = job.require_active_mut()?;
        if let Some(mut member) = active.members.remove(&session) {
            let request = active.training().and_then(|training| training.request());
            if let Some(request) = request.filter(|request| !request.is_idle(session)) {
                member.leave_undone(now.saturating_sub(request.begun()), now);
            }
            job.standings.note_missed(&member.account, member.missed, member.passed_over_until, now);
        }
        let active = job.require_active_mut()?;
        active.claims.retain(|claim| claim.session != session);
        if active.members.is_empty() {
            active.without_workers_since = Some(self.now.elapsed);
            if let Some((state, message)) = stop_that_waits(job)? {
                // No worker is left to finish the outer step: the job will resume from its newest checkpoint.
                self.set_state(job, state, message);
                self.release(job);
                return Ok(());
            }
            job.unbind();
        }
        self.reassign(job, session)?;
        // A worker that was lost, not refused, may come back: then the job waits.
        if refused && self.stop_without_eligible_workers(job)? {
            return Ok(());
        }
        self.wait_for_workers_if_abandoned(job)
    }

    /// Removes a worker from a job that keeps others. Others compute what it has not delivered, which is not held against
    /// it.
    pub(super) fn dismiss(&mut self, job: &mut Job, session: SessionId) -> Handled {
        let now = self.now.elapsed;
        let active = job.require_active_mut()?;
        active.claims.retain(|claim| claim.session != session);
        if let Some(member) = active.members.remove(&session) {
            job.standings.note_missed(&member.account, member.missed, member.passed_over_until, now);
        }
        self.reassign(job, session)
    }

    /// Gives the open segments or the initial draw of a leaving worker to other members.
    fn reassign(&mut self, job: &mut Job, session: SessionId) -> Handled {
        let now = self.now.elapsed;
        let active = job.require_active_mut()?;
        match &mut active.stage {
            // Perhaps no other member is prepared yet; then the next one that becomes prepared is asked.
            Stage::Drawing(drawing) if *drawing == session => self.request_initial_state_elsewhere(job),
            Stage::Training(training) => {
                if let Some(request) = training.request_mut() {
                    request.withdraw(session, now);
                }
                self.assign_unassigned(active);
                if let Some(request) = active.open_request() {
                    request.take_over_unfounded(now);
                }
                // Perhaps only a comparison with what the worker would have delivered was missing.
                self.gathered(job)
            }
            // In these stages a worker has nothing to do but load the job.
            Stage::Describing | Stage::Drawing(_) | Stage::Loading | Stage::Storing(_) => Ok(()),
        }
    }

    /// Stops a job that no registered worker can serve, with their reasons. If some of them differ only in their
    /// compute class, as after an upgrade, the job pauses, so that its owner can accept that class. Returns whether the
    /// job stopped.
    fn stop_without_eligible_workers(&mut self, job: &mut Job) -> Result<bool, Halt> {
        let is_abandoned = job.require_active()?.members.is_empty();
        let has_candidate = self.workers.iter().any(|(session, _)| !job.excluded.contains_key(&session));
        if !is_abandoned || has_candidate || job.excluded.is_empty() {
            return Ok(false);
        }
        let reasons = job.reasons_of_exclusions();
        if job.record.checkpoint.is_none() {
            return Err(Halt::Failed(reasons));
        }
        let (state, what) = if job.excluded.values().any(|exclusion| exclusion.ground == Ground::OtherClass) {
            (JobState::Paused, OTHER_CLASSES)
        } else {
            (JobState::Queued, "waits for a worker that can serve it")
        };
        self.set_state(job, state, &format!("{what} ({reasons})"));
        self.release(job);
        Ok(true)
    }

    /// Handles the loss of the last worker, or of the last one that gave the description of model and data: a job without a
    /// checkpoint is queued again, any other one keeps its state in memory and waits for a worker.
    fn wait_for_workers_if_abandoned(&mut self, job: &mut Job) -> Handled {
        let active = job.require_active()?;
        if active.closing().is_some() {
            return Ok(());
        }
        let is_empty = active.members.is_empty();
        let is_unfounded =
            active.described.is_some() && active.members.values().all(|member| !member.prepared);
        if job.record.checkpoint.is_none() && (is_empty || is_unfounded) {
            // There is nothing to keep, not even what the lost workers said of model and data.
            self.set_state(job, JobState::Queued, "waits for workers again");
            self.release(job);
        } else if is_empty {
            let grace = self.config.worker_grace.as_secs();
            let message = match &job.record.class {
                Some(class) if self.only_other_classes(job) => format!(
                    "no worker of its compute class is left, only of others; it waits {grace} s for one of {class}, \
                     then it pauses; resume it with another class accepted if there will be none"
                ),
                _ => format!("no worker is left; it waits {grace} s for one"),
            };
            self.note_of_worker(job, &message);
        }
        Ok(())
    }

    /// Whether workers are here, but none that is not of another class than the job.
    fn only_other_classes(&self, job: &Job) -> bool {
        let ground = |session| job.excluded.get(&session).map(|exclusion| exclusion.ground);
        let mut here = self.workers.iter().filter(|(_, worker)| !worker.draining).peekable();
        here.peek().is_some() && here.all(|(session, _)| ground(session) == Some(Ground::OtherClass))
    }

    /// Stops a job for which no worker came within the grace period. If only those of other classes are here, its owner can
    /// decide whether to accept one.
    pub(super) fn stop_without_workers(&mut self, job: &mut Job, grace: Duration) {
        let grace = grace.as_secs();
        if job.has_begun() && self.only_other_classes(job) {
            let message = format!("{OTHER_CLASSES} (within {grace} s none came)");
            self.set_state(job, JobState::Paused, &message);
            self.release(job);
            return;
        }
        let message = format!("no worker joined within {grace} s");
        match self.config.worker_grace_then {
            WorkerGraceThen::Fail => self.fail(job, &message),
            WorkerGraceThen::Queue => {
                let from = job.record.checkpoint.unwrap_or(0);
                let message = format!(
                    "{message}; it waits in the queue, and goes on from outer step {from} when there are workers"
                );
                self.set_state(job, JobState::Queued, &message);
                self.release(job);
            }
        }
    }
}

impl Core {
    /// Stops active jobs that have had no worker for longer than the grace period.
    pub(super) fn stop_jobs_without_workers(&mut self) {
        let now = self.cluster.now.elapsed;
        let grace = self.cluster.config.worker_grace;
        let is_overdue = |job: &&mut Job| {
            // A job that only waits for its last checkpoint needs no workers.
            let active = job.active.as_ref().filter(|active| active.closing().is_none());
            let since = active.and_then(|active| active.without_workers_since);
            since.is_some_and(|since| now.saturating_sub(since) > grace)
        };
        for job in self.jobs.values_mut().filter(is_overdue) {
            self.cluster.stop_without_workers(job, grace);
        }
    }
}

/// The state and message of a job that was to stop after its outer step, and has no checkpoint under way.
fn stop_that_waits(job: &Job) -> Result<Option<(JobState, &'static str)>, Halt> {
    let active = job.require_active()?;
    Ok(match active.closing() {
        Some(_) => None,
        None if job.record.pausing => Some((JobState::Paused, "paused by its user")),
        None => active.preempted.then_some((JobState::Queued, MADE_WAY)),
    })
}

/// What a job says that has a checkpoint, and workers of other classes only.
const OTHER_CLASSES: &str =
    "no worker of its compute class is here; resume it once there is one, or accept another";

/// What of a worker's reason goes to the log.
pub(super) fn logged(reason: &str) -> &str {
    reason.char_indices().nth(LOGGED).map_or(reason, |(end, _)| &reason[..end])
}
