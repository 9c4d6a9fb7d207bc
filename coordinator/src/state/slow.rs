//! Workers that live but are slow, or have stopped computing: what they have in hand is handed to idle ones as well,
//! and the first answer counts. Which answer that is does not matter to the result: all workers of a class compute the
//! same bytes.

use std::time::Duration;

use lookbehind_common::ids::{JobId, SessionId};

use super::Core;
use super::active::{Active, Member, Stage};
use super::assign::Candidate;
use super::cluster::Cluster;
use super::event::LossCause;
use super::halt::{Halt, Handled};
use super::job::Job;
use super::request::Request;

/// A worker may take so many times what its shards took it before.
const PATIENCE: f64 = 4.0;
/// Times the failure-detection time that work may stand still before its worker is given up, where nobody else can do
/// it.
const STUCK: u32 = 10;
/// The doublings of that time for workers that were given up before: any further one would be longer than a run.
const MOST_DOUBLINGS: u32 = 20;

/// Workers that are to be given up.
struct Stuck {
    sessions: Vec<SessionId>,
    /// How long their work has stood still at least.
    patience: Duration,
}

impl Core {
    /// Looks after the slow workers of all jobs.
    pub(super) fn overtake_slow_workers(&mut self) {
        let ids: Vec<JobId> =
            self.jobs.values().filter(|job| job.active.is_some()).map(|job| job.id().clone()).collect();
        for id in ids {
            if let Ok(Some(stuck)) = self.of_job(&id, |cluster, job| cluster.speculate(job)) {
                for session in stuck.sessions {
                    self.lose_worker(session, &LossCause::Stuck(stuck.patience));
                }
            }
            self.on_job(&id, |cluster, job| match job.active {
                Some(_) => cluster.look_after_start(job),
                None => Err(Halt::Stale("the last worker was given up just now")),
            });
        }
    }
}

impl Cluster {
    /// Hands shards that are late to workers that have nothing to do. Where there is none, returns the workers whose
    /// work has stood still for so long that they are to be given up.
    fn speculate(&mut self, job: &mut Job) -> Result<Option<Stuck>, Halt> {
        let active = job.require_active_mut()?;
        let candidates = active.candidates();
        let Active { members, stage: Stage::Training(training), stuck, .. } = active else {
            return Ok(None);
        };
        let Some(request) = training.request_mut() else { return Ok(None) };
        let late = request.late(|session, since, shards| {
            let seconds_per_shard = members.get(&session).and_then(|member| member.seconds_per_shard);
            self.is_late(session, seconds_per_shard, since, shards)
        });
        let idle: Vec<Candidate> =
            candidates.into_iter().filter(|candidate| request.is_idle(candidate.session)).collect();
        if idle.is_empty() && !late.is_empty() {
            return Ok(Some(self.stuck_workers(request, stuck)));
        }
        for range in late {
            self.assign_range(request, range, &idle, true);
        }
        Ok(None)
    }

    /// Whether a worker is late that has had so many shards in hand since a time, with what a shard took it so far.
    fn is_late(
        &self,
        session: SessionId,
        seconds_per_shard: Option<f64>,
        since: Duration,
        shards: u32,
    ) -> bool {
        let now = self.now.elapsed;
        let detection = self.config.failure_detection;
        match seconds_per_shard {
            Some(seconds) => {
                let patience = (PATIENCE * seconds * f64::from(shards)).max(detection.as_secs_f64() / 2.0);
                now.saturating_sub(since).as_secs_f64() > patience
            }
            // Where nothing is measured yet, what counts is that the work advances.
            None => self
                .workers
                .get(session)
                .is_none_or(|worker| now.saturating_sub(worker.advanced.max(since)) > detection),
        }
    }

    /// Workers whose work has not advanced for long. A job that has given up some is more patient with the next ones,
    /// so that a slow worker comes to its end at last; `given_up` counts them.
    fn stuck_workers(&self, request: &Request, given_up: &mut u32) -> Stuck {
        let now = self.now.elapsed;
        let patience =
            self.config.failure_detection * STUCK.saturating_mul(1 << (*given_up).min(MOST_DOUBLINGS));
        let stands_still = |(session, touched): (SessionId, Duration)| {
            let advanced = self.workers.get(session)?.advanced;
            (now.saturating_sub(advanced.max(touched)) > patience).then_some(session)
        };
        let sessions: Vec<SessionId> = request.busy().filter_map(stands_still).collect();
        *given_up += sessions.len() as u32;
        Stuck { sessions, patience }
    }

    /// Looks after the workers that are to load a job or to draw its weights.
    fn look_after_start(&mut self, job: &mut Job) -> Handled {
        self.draw_as_well(job)?;
        self.exclude_unprepared(job)
    }

    /// Asks another worker for the initial weights as well where the one that was asked takes long: all draw the
    /// same.
    fn draw_as_well(&mut self, job: &mut Job) -> Handled {
        let active = job.require_active()?;
        let Stage::Drawing(asked) = active.stage else { return Ok(()) };
        if self.now.elapsed.saturating_sub(active.asked) <= self.config.failure_detection {
            return Ok(());
        }
        let prepared = active.members.iter().filter(|(_, member)| member.prepared);
        let mut others = prepared.map(|(session, _)| *session).filter(|session| *session != asked);
        // In turn, so that one that never answers is not asked for ever.
        let behind = others.clone().find(|session| *session > asked);
        match behind.or_else(|| others.next()) {
            Some(next) => self.request_initial_state(job, next),
            None => Ok(()),
        }
    }

    /// Takes workers out of a job that they have not loaded, or drawn the weights of, for far too long.
    fn exclude_unprepared(&mut self, job: &mut Job) -> Handled {
        let now = self.now.elapsed;
        let grace = self.config.worker_grace;
        let active = job.require_active()?;
        let drawing = match active.stage {
            Stage::Drawing(session) if now.saturating_sub(active.asked) > grace => Some(session),
            _ => None,
        };
        let late = |(session, member): (&SessionId, &Member)| {
            let unprepared = !member.prepared && now.saturating_sub(member.since) > grace;
            (unprepared || drawing == Some(*session)).then_some(*session)
        };
        let late: Vec<SessionId> = active.members.iter().filter_map(late).collect();
        for session in late {
            let reason = format!("it has not loaded the job within {} s", grace.as_secs());
            self.exclude(job, session, &reason, false)?;
        }
        Ok(())
    }
}
