//! Making room for jobs that wait, and for users who have less than their share: workers change hands, and running jobs
//! are paused where they may be. Results do not depend on the number of workers, so a job can give some up at any time.
//!
//! This happens when users change something and at ticks, because it may touch every active job.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use lookbehind_common::ids::{JobId, SessionId};

use super::Core;
use super::active::Active;
use super::cluster::Cluster;
use super::halt::Handled;
use super::job::Job;
use super::record::JobState;
use super::scheduling::Next;
use super::sharing::divide;

/// Number of workers of each user.
type Held<'a> = BTreeMap<&'a str, usize>;

/// What users have and what they may claim.
struct Balance<'a> {
    held: Held<'a>,
    shares: Held<'a>,
}

impl Balance<'_> {
    fn of(table: &Held<'_>, owner: &str) -> usize {
        table.get(owner).copied().unwrap_or(0)
    }

    /// How many workers a user has beyond their share.
    fn excess(&self, owner: &str) -> usize {
        Self::of(&self.held, owner).saturating_sub(Self::of(&self.shares, owner))
    }

    /// How many workers a user lacks of their share.
    fn lack(&self, owner: &str) -> usize {
        Self::of(&self.shares, owner).saturating_sub(Self::of(&self.held, owner))
    }
}

impl Core {
    /// Counts what users have had, and makes room for one job.
    pub(super) fn share_workers(&mut self) {
        self.count_turns();
        if self.cluster.stopping {
            return;
        }
        let blocked = match self.next_start() {
            // It starts after this event.
            Some(Next::Start(..)) => return,
            Some(Next::Blocked(id)) => Some(id),
            None => None,
        };
        let room = blocked
            .as_ref()
            .and_then(|id| self.room_for(id))
            .or_else(|| self.move_to_balance(blocked.as_ref()));
        if let Some(moves) = room {
            for (id, session) in moves {
                self.on_job(&id, |cluster, job| cluster.give_up(job, session));
            }
        } else if let Some(id) = blocked.filter(|_| self.cluster.config.sharing.preempt) {
            self.preempt_for(&id);
        }
    }

    fn count_turns(&mut self) {
        let Self { cluster, jobs, turns, .. } = self;
        let waits = |job: &&Job| job.active.is_some() || job.record.state == JobState::Queued;
        turns.keep(&jobs.values().filter(waits).map(|job| job.record.owner.as_str()).collect());
        let time = turns.elapsed(cluster.now.elapsed);
        for job in jobs.values() {
            if let Some(active) = &job.active {
                let owner = job.record.owner.as_str();
                turns.charge(owner, active.members.len(), time, cluster.config.sharing.share(owner));
            }
        }
    }

    /// Number of workers of each user who has any.
    pub(super) fn held(&self) -> Held<'_> {
        let mut held = Held::new();
        for job in self.jobs.values() {
            if let Some(active) = &job.active {
                *held.entry(job.record.owner.as_str()).or_default() += active.members.len();
            }
        }
        held
    }

    fn balance(&self) -> Balance<'_> {
        let workers = self.cluster.workers.iter().filter(|(_, worker)| !worker.draining).count();
        let mut demand = Held::new();
        for job in self.jobs.values() {
            if job.active.is_some() || self.may_start(job) {
                let wanted = demand.entry(job.record.owner.as_str()).or_default();
                *wanted = workers.min(wanted.saturating_add(job.max_workers()));
            }
        }
        Balance { held: self.held(), shares: divide(workers, &demand, &self.cluster.config.sharing) }
    }

    /// Workers that jobs give up for a queued job, so that it can start within its owner's share; `None` if that is not
    /// enough.
    fn room_for(&self, id: &JobId) -> Option<Vec<(JobId, SessionId)>> {
        let job = self.jobs.get(id)?;
        let balance = self.balance();
        if balance.lack(&job.record.owner) < job.spec.resources.min_workers as usize {
            return None;
        }
        let (mut offered, mut moves) = (self.eligible(job), Vec::new());
        for (from, session) in self.spare_workers(job, &balance) {
            offered.push(session);
            moves.push((from, session));
            if self.cluster.suffice(job, &self.cluster.chosen(job, offered.clone())) {
                return Some(moves);
            }
        }
        None
    }

    /// A worker for an active job whose owner has less than their share, from one whose owner has more.
    fn move_to_balance(&self, blocked: Option<&JobId>) -> Option<Vec<(JobId, SessionId)>> {
        let balance = self.balance();
        let lacks = |job: &&Job| balance.lack(&job.record.owner) > 0;
        let mut open: Vec<&Job> =
            self.jobs.values().filter(|job| self.is_open(job, blocked)).filter(lacks).collect();
        open.sort_unstable_by_key(|job| self.order_of_addition(job, &balance.held));
        open.into_iter().find_map(|job| {
            let spare = self.spare_workers(job, &balance).into_iter();
            let mut fitting =
                spare.filter(|(_, session)| !self.cluster.chosen(job, vec![*session]).is_empty());
            fitting.next().map(|moved| vec![moved])
        })
    }

    /// Workers that may be taken for a job, in the order in which to take them: of jobs of no higher priority whose owners
    /// have more than their share, down to what those jobs need. A job that verifies needs its workers.
    fn spare_workers(&self, job: &Job, balance: &Balance<'_>) -> Vec<(JobId, SessionId)> {
        let mut excess: BTreeMap<&str, usize> = BTreeMap::new();
        let mut others: Vec<(&Job, &Active)> =
            self.jobs.values().filter_map(|other| Some((other, other.active.as_ref()?))).collect();
        others.retain(|(other, active)| {
            let is_lower = other.precedence() >= job.precedence();
            is_lower && active.closing().is_none() && other.spec.resources.verify == 0
        });
        others
            .sort_unstable_by_key(|(other, _)| (other.spec.resources.priority, Reverse(other.record.number)));
        let mut spare = Vec::new();
        for (other, active) in others {
            let owner = other.record.owner.as_str();
            let left = excess.entry(owner).or_insert_with(|| balance.excess(owner));
            let taken = beyond_need(other, active).take(*left);
            let taken: Vec<_> = taken.filter(|session| self.cluster.may_serve(job, *session)).collect();
            *left -= taken.len();
            spare.extend(taken.into_iter().map(|session| (other.id().clone(), session)));
        }
        spare
    }

    /// Pauses running jobs of a lower priority than that of a queued job, if it can start then: the lowest first, and of
    /// equal ones the newest.
    fn preempt_for(&mut self, id: &JobId) {
        let Some(job) = self.jobs.get(id) else { return };
        let mut lower: Vec<&Job> =
            self.jobs.values().filter(|other| other.precedence() > job.precedence()).collect();
        lower.sort_unstable_by_key(|other| (other.spec.resources.priority, Reverse(other.record.number)));
        let (mut offered, mut chosen) = (self.eligible(job), Vec::new());
        for (other, active) in lower.into_iter().filter_map(|other| Some((other, other.active.as_ref()?))) {
            if self.cluster.suffice(job, &self.cluster.chosen(job, offered.clone())) {
                break;
            }
            let before = offered.len();
            offered.extend(active.members.keys().filter(|session| self.cluster.may_serve(job, **session)));
            if offered.len() > before {
                chosen.push(other.id().clone());
            }
        }
        if !self.cluster.suffice(job, &self.cluster.chosen(job, offered)) {
            return;
        }
        let way = format!("job {id}, whose priority is {}", job.spec.resources.priority);
        for victim in chosen {
            self.on_job(&victim, |cluster, job| cluster.preempt(job, &way));
        }
    }

    /// Users whose number of active jobs is at its limit.
    pub(super) fn busy_users(&self) -> BTreeSet<&str> {
        let Some(most) = self.cluster.config.sharing.max_active_jobs else { return BTreeSet::new() };
        let mut active = Held::new();
        for job in self.jobs.values().filter(|job| job.active.is_some()) {
            *active.entry(job.record.owner.as_str()).or_default() += 1;
        }
        active.into_iter().filter(|(_, jobs)| *jobs >= most).map(|(owner, _)| owner).collect()
    }
}

/// The workers that a job has beyond those that it needs: first those that are still preparing, then the newest.
fn beyond_need(job: &Job, active: &Active) -> impl Iterator<Item = SessionId> {
    let need = job.spec.resources.min_workers.max(1) as usize;
    let mut members: Vec<_> =
        active.members.iter().map(|(session, member)| (member.prepared, Reverse(*session))).collect();
    members.sort_unstable();
    let beyond = members.len().saturating_sub(need);
    members.into_iter().take(beyond).map(|(_, Reverse(session))| session)
}

impl Cluster {
    /// Takes a worker from a job that goes on without it.
    fn give_up(&mut self, job: &mut Job, session: SessionId) -> Handled {
        let name = self.workers.name(session);
        tracing::info!(job = %job.id(), worker = name, "worker goes to another user's job");
        self.note_of_worker(
            job,
            &format!("worker {name} goes to a job of a user who has less than their share"),
        );
        self.free_worker(session, job.id());
        self.dismiss(job, session)
    }

    /// Makes a job give up its workers: after its current outer step and a checkpoint, or at once if it computes none.
    fn preempt(&mut self, job: &mut Job, way: &str) -> Handled {
        let active = job.require_active_mut()?;
        if active.preempted || active.closing().is_some() {
            return Ok(());
        }
        if active.training().is_some() && !active.members.is_empty() {
            active.preempted = true;
            self.note(job, &format!("it makes way for {way}, after the current outer step"));
            return Ok(());
        }
        self.set_state(job, JobState::Queued, &format!("it makes way for {way}"));
        self.release(job);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
