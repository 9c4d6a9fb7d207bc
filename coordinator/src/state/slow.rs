//! Workers that are alive but slow, or that have stopped computing: their open shards are assigned to idle workers as
//! well (speculation), and the first answer counts. The result does not depend on which one is first: all workers of a
//! class compute the same bytes.

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

/// A worker is late when it has taken this many times the duration that its earlier shards suggest.
const PATIENCE: f64 = 4.0;
/// A worker without progress is given up after this many times failure detection, if no idle worker can take its
/// shards.
const STUCK: u32 = 10;
/// Maximum number of doublings of that time, one for each worker given up before. 2^20 times is longer than any run.
const MAX_DOUBLINGS: u32 = 20;

/// Workers to be given up.
struct Stuck {
    sessions: Vec<SessionId>,
    /// They have made no progress for at least this long.
    patience: Duration,
}

impl Core {
    /// Checks the workers of all active jobs for lateness.
    pub(super) fn handle_slow_workers(&mut self) {
        let ids: Vec<JobId> =
            self.jobs.values().filter(|job| job.active.is_some()).map(|job| job.id().clone()).collect();
        for id in ids {
            if let Ok(Some(stuck)) = self.of_job(&id, |cluster, job| cluster.speculate(job)) {
                for session in stuck.sessions {
                    self.lose_worker(session, &LossCause::Stuck(stuck.patience));
                }
            }
            self.on_job(&id, |cluster, job| match job.active {
                Some(_) => cluster.check_preparing_workers(job),
                None => Err(Halt::Stale("the last worker was given up just now")),
            });
        }
    }
}

impl Cluster {
    /// Assigns late shards to idle workers as well. If no worker is idle, returns the workers that have made no
    /// progress for so long that they are to be given up.
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

    /// Whether a worker is late: `shards` are open, and nothing was assigned to it or delivered by it after `since`.
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
            // Without a measurement only the progress count tells whether it computes.
            None => self
                .workers
                .get(session)
                .is_none_or(|worker| now.saturating_sub(worker.advanced.max(since)) > detection),
        }
    }

    /// Workers with open shards that have made no progress for long. Each worker given up doubles the job's patience
    /// with the next ones, so that a slow but working one can finish in the end; `given_up` counts them.
    fn stuck_workers(&self, request: &Request, given_up: &mut u32) -> Stuck {
        let now = self.now.elapsed;
        let patience =
            self.config.failure_detection * STUCK.saturating_mul(1 << (*given_up).min(MAX_DOUBLINGS));
        let without_progress = |(session, last_activity): (SessionId, Duration)| {
            let advanced = self.workers.get(session)?.advanced;
            (now.saturating_sub(advanced.max(last_activity)) > patience).then_some(session)
        };
        let sessions: Vec<SessionId> = request.busy().filter_map(without_progress).collect();
        *given_up += sessions.len() as u32;
        Stuck { sessions, patience }
    }

    /// Checks the workers that load a job or draw its weights.
    fn check_preparing_workers(&mut self, job: &mut Job) -> Handled {
        self.request_initial_state_from_another(job)?;
        self.exclude_unprepared(job)
    }

    /// Asks another worker for the initial weights as well if the one that was asked takes long: all draw the same
    /// weights.
    fn request_initial_state_from_another(&mut self, job: &mut Job) -> Handled {
        let active = job.require_active()?;
        let Stage::Drawing(asked) = active.stage else { return Ok(()) };
        if self.now.elapsed.saturating_sub(active.requested_initial_state_at) <= self.config.failure_detection
        {
            return Ok(());
        }
        let prepared = active.members.iter().filter(|(_, member)| member.prepared);
        let mut others = prepared.map(|(session, _)| *session).filter(|session| *session != asked);
        // In turn, so that a worker that never answers is not the only one asked.
        let behind = others.clone().find(|session| *session > asked);
        match behind.or_else(|| others.next()) {
            Some(next) => self.request_initial_state(job, next),
            None => Ok(()),
        }
    }

    /// Excludes workers that have not loaded the job, or not drawn its weights, within the grace period.
    fn exclude_unprepared(&mut self, job: &mut Job) -> Handled {
        let now = self.now.elapsed;
        let grace = self.config.worker_grace;
        let active = job.require_active()?;
        let drawing = match active.stage {
            Stage::Drawing(session) if now.saturating_sub(active.requested_initial_state_at) > grace => {
                Some(session)
            }
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
