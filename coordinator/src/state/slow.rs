//! Workers that are alive but slow, or that have stopped computing: their open shards are assigned to idle workers as
//! well (speculation), and the first answer counts. The result does not depend on which one is first: all workers of a
//! class compute the same bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use lookbehind_common::ids::{JobId, SessionId};

use super::Core;
use super::active::{Active, Member, Stage};
use super::cluster::Cluster;
use super::event::LossCause;
use super::halt::{Halt, Handled};
use super::job::{Ground, Job};
use super::request::Request;

/// A worker is late when it has taken this many times the duration that its earlier shards suggest.
const PATIENCE: f64 = 4.0;
/// Shards may take a worker at most this many times what they take the fastest other one, moving included, or the worker
/// is late. Without this limit, a worker that delivers ever more slowly would be waited for ever longer.
const SLOWEST: f64 = 16.0;
/// A worker of which no shard was measured is late after this many times failure detection, even if it reports progress
/// all the time. Whether that is true cannot be known; that an idle worker can compute the shard as well is certain.
const UNMEASURED: u32 = 8;
/// A worker without progress is given up after this many times failure detection, if no idle worker can take its
/// shards.
const STUCK: u32 = 10;
/// A worker that reports progress but delivers nothing is given up after this many times the patience with one that
/// reports none, if another worker could serve the job in its place.
const REPORTS_PROGRESS: u32 = 4;
/// Maximum number of doublings of that time, one for each worker given up before. 2^20 times is longer than any run.
const MAX_DOUBLINGS: u32 = 20;

/// Workers to be given up.
struct Stuck {
    sessions: Vec<SessionId>,
    /// They have delivered nothing for at least this long.
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
            let late = self.of_job(&id, |cluster, job| match job.active {
                Some(_) => cluster.hurry(job),
                None => Ok(None),
            });
            if let Ok(Some((sessions, patience))) = late {
                for session in sessions {
                    self.lose_worker(session, &LossCause::Stuck(patience));
                }
            }
            let claims = |job: &Job| job.active.as_ref().is_some_and(|active| !active.claims.is_empty());
            if self.jobs.get(&id).is_some_and(claims) {
                let left = self.left(&id);
                self.on_job(&id, |cluster, job| cluster.decide_description(job, left));
            }
            self.on_job(&id, |cluster, job| match job.active {
                Some(_) => cluster.check_preparing_workers(job),
                None => Err(Halt::Stale("the job has stopped just now")),
            });
        }
    }
}

impl Cluster {
    /// Assigns late shards to idle workers as well. If no worker is idle, returns the workers that have delivered nothing
    /// for so long that they are to be given up.
    fn speculate(&mut self, job: &mut Job) -> Result<Option<Stuck>, Halt> {
        let replaceable = self.workers.free().any(|session| !job.excluded.contains_key(&session));
        let active = job.require_active_mut()?;
        let basis = active.basis(self.now.elapsed);
        let Active { members, stage: Stage::Training(training), stuck, .. } = active else {
            return Ok(None);
        };
        let Some(request) = training.request_mut() else { return Ok(None) };
        let late = request.late(|session, since, shards| self.is_late(members, session, since, shards));
        let idle = basis.only(|session| request.is_idle(session));
        let is_late = |session| {
            let open = request.open_assignment(session);
            open.is_some_and(|(since, shards)| self.is_late(members, session, since, shards))
        };
        let late_seconds = request.comparisons.late(is_late);
        self.replace_late_seconds(request, &late_seconds, &idle.candidates);
        if idle.candidates.is_empty() && !late.is_empty() {
            return Ok(Some(self.stuck_workers(request, replaceable, stuck)));
        }
        for range in late {
            self.assign_range(request, range, &idle, true);
        }
        // A comparison that was given up may have been all that was missing.
        self.gathered(job).map(|()| None)
    }

    /// Whether a worker is late: `shards` are open, and nothing was assigned to it or delivered by it after `since`. What
    /// it says of its progress can only shorten the time.
    fn is_late(
        &self,
        members: &BTreeMap<SessionId, Member>,
        session: SessionId,
        since: Duration,
        shards: u32,
    ) -> bool {
        let detection = self.config.failure_detection.as_secs_f64();
        let waited = self.now.elapsed.saturating_sub(since).as_secs_f64();
        let expected = |member: &Member| member.measured.expected(shards);
        let own = members.get(&session).and_then(expected);
        let others = members.iter().filter(|(other, _)| **other != session);
        let fastest = others.filter_map(|(_, member)| expected(member)).reduce(f64::min);
        let longest = fastest.map(|seconds| SLOWEST * seconds);
        match own.map(|own| longest.map_or(own, |longest| own.min(longest))) {
            Some(seconds) => waited > (PATIENCE * seconds).max(detection / 2.0),
            None => {
                let longest = longest.map_or(f64::INFINITY, |seconds| PATIENCE * seconds);
                let most = longest.max(detection).min(f64::from(UNMEASURED) * detection);
                waited > most || self.stands_still(session, since, self.config.failure_detection)
            }
        }
    }

    /// Whether a worker has neither delivered nor reported progress for longer than `patience`.
    fn stands_still(&self, session: SessionId, last_activity: Duration, patience: Duration) -> bool {
        let advanced = self.workers.get(session).map(|worker| worker.advanced.max(last_activity));
        advanced.is_none_or(|advanced| self.now.elapsed.saturating_sub(advanced) > patience)
    }

    /// Workers with open shards that have delivered nothing for long. Each worker given up doubles the job's patience
    /// with the next ones, so that a slow but working one can finish in the end; `given_up` counts them. `replaceable`:
    /// a free worker could serve the job.
    fn stuck_workers(&self, request: &Request, replaceable: bool, given_up: &mut u32) -> Stuck {
        let patience =
            self.config.failure_detection * STUCK.saturating_mul(1 << (*given_up).min(MAX_DOUBLINGS));
        let is_stuck = |(session, last_activity): &(SessionId, Duration)| {
            let waited = self.now.elapsed.saturating_sub(*last_activity);
            self.stands_still(*session, *last_activity, patience)
                || (replaceable && waited > patience * REPORTS_PROGRESS)
        };
        let sessions: Vec<SessionId> = request.busy().filter(is_stuck).map(|(session, _)| session).collect();
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
            self.exclude(job, session, &reason, Ground::Failure)?;
        }
        Ok(())
    }
}
