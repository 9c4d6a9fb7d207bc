//! Users: they create jobs until one answer comes, and pause, resume and cancel them.

use std::rc::Rc;

use lookbehind_common::ids::JobId;
use lookbehind_coordinator::state::event::{CallError, Event, JobView, UserCall};
use lookbehind_coordinator::state::{Caller as Somebody, JobState};

use crate::agenda::ScheduledEvent;
use crate::dice::{Dice, millis, seconds};
use crate::jobs::Expected;
use crate::process::Caller;
use crate::world::World;

/// What a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Create,
    Pause,
    Resume,
    Cancel,
}

/// A job that a user wants, from the first call on.
pub(crate) struct Request {
    expected: Rc<Expected>,
    request_id: String,
    /// The job, once its creation is acknowledged.
    pub(crate) job: Option<JobId>,
    /// Whether the creation is acknowledged.
    pub(crate) acknowledged: bool,
    /// The call that is under way.
    pending: Option<Wish>,
}

impl World {
    /// Draws the jobs of this schedule.
    pub(crate) fn draw_jobs(&mut self) {
        let mut dice = Dice::new(self.seed, 2);
        for number in 0..dice.between(1, 2) {
            let expected = Rc::new(Expected::draw(&mut dice));
            let request_id = format!("request-{number}");
            self.requests.push(Request {
                expected,
                request_id,
                job: None,
                acknowledged: false,
                pending: None,
            });
        }
        self.agenda.add(millis(1), ScheduledEvent::Users);
    }

    /// Users look after their jobs: they try again to create them, and resume paused ones once all is repaired.
    pub(crate) fn users_act(&mut self) {
        for number in 0..self.requests.len() {
            let request = &self.requests[number];
            let record = request.job.as_ref().and_then(|job| self.disk.records.get(job));
            if !request.acknowledged {
                self.call(number, Wish::Create);
            } else if self.healed && record.is_some_and(|record| record.state == JobState::Paused) {
                self.call(number, Wish::Resume);
            }
        }
        let wait = self.dice.between(millis(200), seconds(1));
        self.agenda.add(self.now + wait, ScheduledEvent::Users);
    }

    /// A call, unless one is under way or nobody is there to take it.
    pub(crate) fn call(&mut self, number: usize, wish: Wish) {
        let frozen = self.frozen_until > self.now;
        let Some(request) = self.requests.get_mut(number) else { return };
        if request.pending.is_some() || frozen || self.process.is_none() {
            return;
        }
        let call = match (wish, request.job.clone()) {
            (Wish::Create, _) => {
                let id = JobId::from_entropy(self.dice.below(1 << 40));
                self.expected.insert(id.clone(), Rc::clone(&request.expected));
                let spec = Box::new(request.expected.message.clone());
                UserCall::Create { request_id: request.request_id.clone(), spec, id }
            }
            (_, None) => return,
            (Wish::Pause, Some(job)) => UserCall::Pause(job),
            (Wish::Resume, Some(job)) => UserCall::Resume { id: job, accept_class: false },
            (Wish::Cancel, Some(job)) => {
                self.invariants.terminal.cancelled(&job);
                UserCall::Cancel(job)
            }
        };
        request.pending = Some(wish);
        self.ask(Caller::User(number), |reply_to| Event::User { reply_to, caller: Somebody::Anyone, call });
    }

    /// The coordinator is gone before it answered.
    pub(crate) fn calls_failed(&mut self) {
        for request in &mut self.requests {
            request.pending = None;
        }
    }

    /// An answer, behind what was stored before it.
    pub(crate) fn user_answered(&mut self, number: usize, result: Result<JobView, CallError>) {
        let request = &mut self.requests[number];
        let Some(wish) = request.pending.take() else { return };
        if !self.healed && self.dice.percent(20) {
            // The answer is lost on its way.
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
            Err(CallError::Stopping | CallError::WrongState { .. }) => {}
            Err(error) => self.invariants.fail(format!("{wish:?} was refused: {error}")),
        }
    }
}
