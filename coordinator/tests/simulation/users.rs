//! Users: they retry the creation of their jobs until it is acknowledged, pause, resume and cancel them, go on with some that
//! were cancelled, and delete some that have ended.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use lookbehind_common::ids::JobId;
use lookbehind_coordinator::state::event::{CallError, Event, JobView, UserCall};
use lookbehind_coordinator::state::{Caller as ApiCaller, JobState, Submission};

use crate::agenda::ScheduledEvent;
use crate::dice::{Dice, Micros, millis, seconds};
use crate::faults::Fault;
use crate::jobs::Expected;
use crate::process::Caller;
use crate::world::World;

/// A call of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Create,
    Pause,
    Resume,
    Cancel,
    Retry,
    Delete,
}

/// A job that a user wants to have.
pub(crate) struct Request {
    expected: Rc<Expected>,
    caller: ApiCaller,
    request_id: String,
    /// Identity of the job, once its creation is acknowledged.
    pub(crate) job: Option<JobId>,
    pub(crate) acknowledged: bool,
    /// Whether its user regrets that it was cancelled, and retries it.
    pub(crate) regrets: bool,
    /// The call that waits for its answer.
    pending: Option<Wish>,
}

impl World {
    /// Draws the jobs of this schedule.
    pub(crate) fn draw_jobs(&mut self) {
        let mut dice = Dice::new(self.seed, 2);
        for _ in 0..dice.between(1, 2) {
            let expected = Expected::draw(&mut dice);
            self.want(expected, ApiCaller::Anyone);
        }
        self.agenda.add(millis(1), ScheduledEvent::Users);
    }

    /// In some schedules, jobs of several users and priorities share the workers.
    pub(crate) fn draw_sharing(&mut self) {
        let mut dice = Dice::new(self.seed, 4);
        if !dice.percent(30) {
            return;
        }
        let owner = |dice: &mut Dice| ApiCaller::Admin(dice.pick(&["ada", "bob", "cem"]).into());
        for _ in 0..dice.between(1, 3) {
            let priority = dice.pick(&[-1, 0, 1, 2]);
            let expected = Expected::draw_of_priority(&mut dice, priority);
            let caller = owner(&mut dice);
            self.want(expected, caller);
        }
        self.sharing.preempt = dice.percent(60);
        self.sharing.max_active_jobs = dice.percent(30).then_some(1);
        self.sharing.shares = BTreeMap::from([("ada".to_owned(), dice.between(1, 4) as u32)]);
    }

    fn want(&mut self, expected: Expected, caller: ApiCaller) {
        let request_id = format!("request-{}", self.requests.len());
        let expected = Rc::new(expected);
        let (job, acknowledged, regrets, pending) = Default::default();
        let request = Request { expected, caller, request_id, job, acknowledged, regrets, pending };
        self.requests.push(request);
    }

    /// In some schedules, a user cancels a job and regrets it.
    pub(crate) fn draw_regret(&mut self, phase: Micros) {
        let mut dice = Dice::new(self.seed, 5);
        if dice.percent(15) {
            let request = dice.below(self.requests.len() as u64) as usize;
            self.requests[request].regrets = true;
            let cancel = Fault::User(request, Wish::Cancel);
            self.agenda.add(dice.below(phase), ScheduledEvent::Fault(cancel));
        }
    }

    /// In some schedules, jobs that have ended are kept for a few seconds only, or only one of them is.
    pub(crate) fn draw_retention(&mut self) {
        let mut dice = Dice::new(self.seed, 6);
        if dice.percent(20) {
            self.retention.time = dice.percent(50).then(|| Duration::from_secs(dice.between(1, 5)));
            self.retention.jobs = dice.percent(50).then_some(1);
        }
    }

    /// Draws the jobs anew, each of which starts on at least this many workers.
    pub(crate) fn draw_jobs_for(&mut self, workers: u32) {
        let mut dice = Dice::new(self.seed, 3);
        for request in &mut self.requests {
            request.expected = Rc::new(Expected::draw_for(&mut dice, workers));
        }
    }

    /// Users check their jobs: they retry unacknowledged creations, and resume paused jobs once the faults have ended.
    pub(crate) fn users_act(&mut self) {
        for number in 0..self.requests.len() {
            let request = &self.requests[number];
            let record = request.job.as_ref().and_then(|job| self.disk.records.get(job));
            if !request.acknowledged {
                self.call(number, Wish::Create);
            } else if self.healed && record.is_some_and(|record| record.state == JobState::Paused) {
                self.call(number, Wish::Resume);
            } else if request.regrets && record.is_some_and(|record| record.state == JobState::Cancelled) {
                self.call(number, Wish::Retry);
            } else if record.is_some_and(|record| record.state.is_terminal()) && self.dice.percent(20) {
                self.call(number, Wish::Delete);
            }
        }
        let wait = self.dice.between(millis(200), seconds(1));
        self.agenda.add(self.now + wait, ScheduledEvent::Users);
    }

    /// Makes a call, unless one is under way or no coordinator can take it.
    pub(crate) fn call(&mut self, number: usize, wish: Wish) {
        let frozen = self.frozen_until > self.now;
        let Some(request) = self.requests.get_mut(number) else { return };
        if request.pending.is_some() || frozen || self.process.is_none() {
            return;
        }
        let call = match (wish, request.job.clone()) {
            (Wish::Create, _) => {
                let entropy = self.dice.below(1 << 40);
                self.expected.insert(JobId::from_entropy(entropy), Rc::clone(&request.expected));
                let submission = Submission::read(&request.expected.message).expect("a valid specification");
                let (request_id, submission) = (request.request_id.clone(), Box::new(submission));
                UserCall::Create { request_id, submission, initial_checkpoint: Ok(None), entropy }
            }
            (_, None) => return,
            (Wish::Pause, Some(job)) => UserCall::Pause(job),
            (Wish::Resume, Some(job)) => UserCall::Resume { id: job, accept_class: false },
            (Wish::Cancel, Some(job)) => {
                self.invariants.terminal.cancelled(&job);
                UserCall::Cancel(job)
            }
            (Wish::Retry, Some(job)) => {
                self.invariants.terminal.retried(&job);
                let spec = self.disk.specs.get(&job).cloned();
                UserCall::Retry { id: job, spec }
            }
            (Wish::Delete, Some(job)) => UserCall::Delete(job),
        };
        request.pending = Some(wish);
        let caller = request.caller.clone();
        self.ask(Caller::User(number), |reply_to| Event::User { reply_to, caller, call });
    }

    /// The coordinator has crashed before it answered.
    pub(crate) fn calls_failed(&mut self) {
        for request in &mut self.requests {
            request.pending = None;
        }
    }

    /// An answer arrives; what was to be stored before it is durable.
    pub(crate) fn user_answered(&mut self, number: usize, result: Result<JobView, CallError>) {
        let request = &mut self.requests[number];
        let Some(wish) = request.pending.take() else { return };
        if !self.healed && self.dice.percent(20) {
            // The answer gets lost.
            return;
        }
        match result {
            Ok(view) => {
                if wish == Wish::Create {
                    request.job = Some(view.record.id.clone());
                    request.acknowledged = true;
                }
                self.invariants.acknowledged.answered(&self.disk, &view.record);
            }
            Err(CallError::Stopping | CallError::WrongState { .. } | CallError::Storage(_)) => {}
            Err(CallError::NotFound(job)) if self.disk.deleted.contains(&job) => {}
            Err(error) => self.invariants.fail(format!("{wish:?} was refused: {error}")),
        }
    }

    /// The answer to a deletion arrives; if the job is deleted, that is durable.
    pub(crate) fn deletion_answered(&mut self, number: usize, result: Result<(), CallError>) {
        let request = &mut self.requests[number];
        request.pending = None;
        let Some(job) = request.job.clone() else { return };
        match result {
            Ok(()) if self.disk.records.contains_key(&job) => {
                self.invariants.fail(format!("job {job} is deleted for its user, and still stored"));
            }
            Ok(()) | Err(CallError::Stopping | CallError::Storage(_)) => {}
            Err(CallError::NotFound(job)) if self.disk.deleted.contains(&job) => {}
            Err(error) => self.invariants.fail(format!("{:?} was refused: {error}", Wish::Delete)),
        }
    }
}
