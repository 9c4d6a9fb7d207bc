//! Workers that live but are slow, or have stopped computing: what they have in hand is handed to idle ones as well,
//! and the first answer counts (design, sections 3 and 4). Which answer that is does not matter to the result.

use std::time::Duration;

use lookbehind_common::ids::{JobId, SessionId};

use super::Core;
use super::assign::Candidate;
use super::event::LossCause;
use super::job::{Active, Member, Phase, Stage};

/// A worker may take so many times what its shards took it before.
const PATIENCE: f64 = 4.0;
/// Times the failure-detection time that work may stand still before its worker is given up, where nobody else can do
/// it.
const STUCK: u32 = 10;

impl Core {
    /// Looks after the slow workers of all jobs.
    pub(super) fn overtake_slow_workers(&mut self) {
        let ids: Vec<JobId> =
            self.jobs.values().filter(|job| job.active.is_some()).map(|job| job.id().clone()).collect();
        for id in ids {
            self.speculate(&id);
            self.draw_as_well(&id);
            self.exclude_unprepared(&id);
        }
    }

    /// Hands shards that are late to workers that have nothing to do.
    fn speculate(&mut self, id: &JobId) {
        let now = self.now.elapsed;
        let (workers, detection) = (&self.workers, self.config.failure_detection);
        let Some(active) = self.jobs.get(id).and_then(|job| job.active.as_ref()) else { return };
        let Active { members, stage: Stage::Training(training), .. } = active else { return };
        let Phase::Gathering(_, work) = &training.phase else { return };
        let is_late = |session: SessionId, since: Duration, shards: u32| {
            let measured = members.get(&session).and_then(|member| member.seconds_per_shard);
            // Where nothing is measured yet, what counts is that the work advances.
            let advanced = workers.get(session).map_or(since, |worker| worker.advanced.max(since));
            match measured {
                Some(seconds) => {
                    let patience =
                        (PATIENCE * seconds * f64::from(shards)).max(detection.as_secs_f64() / 2.0);
                    now.saturating_sub(since).as_secs_f64() > patience
                }
                None => now.saturating_sub(advanced) > detection,
            }
        };
        let late = work.late(is_late);
        let idle: Vec<Candidate> =
            active.candidates().into_iter().filter(|candidate| work.is_idle(candidate.session)).collect();
        if idle.is_empty() && !late.is_empty() {
            return self.give_up_stuck(id);
        }
        for range in late {
            self.assign_range(id, range, &idle, true);
        }
    }

    /// Gives up workers whose work has not advanced for long, where nobody else could do it. A job that has given up
    /// some is more patient with the next ones, so that a slow worker comes to its end at last.
    fn give_up_stuck(&mut self, id: &JobId) {
        let (now, detection) = (self.now.elapsed, self.config.failure_detection);
        let Some(active) = self.jobs.get_mut(id).and_then(|job| job.active.as_mut()) else { return };
        let Active { stage: Stage::Training(training), stuck, .. } = active else { return };
        let Phase::Gathering(_, work) = &training.phase else { return };
        let patience = detection * STUCK.saturating_mul(1 << (*stuck).min(20));
        let stands_still = |session: &SessionId| {
            let advanced = self.workers.get(*session).map_or(now, |worker| worker.advanced);
            let touched = work.touched(*session).unwrap_or(now);
            now.saturating_sub(advanced.max(touched)) > patience
        };
        let given_up: Vec<SessionId> = work.busy().filter(stands_still).collect();
        *stuck += given_up.len() as u32;
        for session in given_up {
            self.lose_worker(session, &LossCause::Stuck(patience));
        }
    }

    /// Takes workers out of a job that they have not loaded, or drawn the weights of, for far too long.
    fn exclude_unprepared(&mut self, id: &JobId) {
        let (now, grace) = (self.now.elapsed, self.config.worker_grace);
        let Some(active) = self.jobs.get(id).and_then(|job| job.active.as_ref()) else { return };
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
            self.exclude(session, id, &reason, false);
        }
    }

    /// Asks another worker for the initial weights as well where the one that was asked takes long: all draw the
    /// same.
    fn draw_as_well(&mut self, id: &JobId) {
        let (now, detection) = (self.now.elapsed, self.config.failure_detection);
        let Some(active) = self.jobs.get(id).and_then(|job| job.active.as_ref()) else { return };
        let Stage::Drawing(asked) = active.stage else { return };
        if now.saturating_sub(active.asked) <= detection {
            return;
        }
        let ready = |session: &SessionId| active.members.get(session).is_some_and(|member| member.prepared);
        let mut others = active.members.keys().copied().filter(|session| *session != asked && ready(session));
        // In turn, so that one that never answers is not asked for ever.
        let behind = others.clone().find(|session| *session > asked);
        if let Some(next) = behind.or_else(|| others.next()) {
            self.request_initial_state(id, next);
        }
    }
}
