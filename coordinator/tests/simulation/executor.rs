//! A model of a worker's executor: it handles tasks one after the other, and a newer request supersedes older ones.

use std::collections::VecDeque;
use std::sync::Arc;

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::{FencingToken, JobId, RequestId};
use lookbehind_common::job::JobSpec;
use lookbehind_common::model_state::{ModelState, Weights};
use lookbehind_coordinator::state::command::{Assignment, RequestKind};
use lookbehind_coordinator::state::event::{Busy, Origin, PartialHeader};
use lookbehind_proto::v1;
use lookbehind_proto::wire;

use crate::agenda::ScheduledEvent;
use crate::dice::{Micros, millis};
use crate::lies::{self, Lie};
use crate::streams::identity_of;
use crate::toy;
use crate::transfers::{Upload, What};
use crate::world::World;

/// The session in which a task was received.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) stream: u64,
    pub(crate) fencing_token: FencingToken,
}

/// A task from the control stream.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Prepare(Context, JobId, Arc<v1::JobSpec>),
    SendInitialState(Context, JobId),
    /// With its generation: a newer one supersedes it.
    Compute(Context, u64, Assignment),
    Release(JobId),
}

/// The end of something that takes the executor time.
#[derive(Debug)]
pub(crate) enum Step {
    Prepared(Context, JobId, Box<JobSpec>),
    /// Initial parameters and running statistics were drawn.
    Drawn(Context, JobId, Box<ModelState<FlatBuffer>>),
    /// One shard was computed: generation, assignment, index of the segment in it, shards of the segment done before.
    Shard(Context, u64, Assignment, usize, u32),
}

/// The job in memory, with the version of the weights that it holds.
#[derive(Debug)]
struct Loaded {
    job: JobId,
    spec: JobSpec,
    weights: Option<(FencingToken, u64, Weights)>,
}

/// The executor of a worker's process.
#[derive(Debug, Default)]
pub(crate) struct Executor {
    tasks: VecDeque<Task>,
    /// The current task, if it is not finished yet.
    pub(crate) current: Option<Task>,
    steps: u64,
    loaded: Option<Loaded>,
    newest: Option<(RequestId, u64)>,
    assignments: u64,
}

impl Executor {
    /// The specification of the loaded job.
    pub(crate) fn spec(&self) -> Option<&JobSpec> {
        self.loaded.as_ref().map(|loaded| &loaded.spec)
    }

    /// The generation of an assignment. Assignments of one request share it; those of a newer request supersede it.
    pub(crate) fn count_assignment(&mut self, request: &RequestId) -> u64 {
        match &self.newest {
            Some((newest, count)) if newest == request => *count,
            _ => {
                self.assignments += 1;
                self.newest = Some((request.clone(), self.assignments));
                self.assignments
            }
        }
    }

    /// Supersedes all assignments received so far.
    pub(crate) fn stop(&mut self) {
        self.newest = None;
    }

    fn counts(&self, count: u64) -> bool {
        self.newest.as_ref().is_some_and(|(_, newest)| *newest == count)
    }
}

impl World {
    pub(crate) fn give_task(&mut self, number: usize, task: Task) {
        let executor = &mut self.workers[number].executor;
        executor.tasks.push_back(task);
        let waiting = executor.tasks.len();
        self.invariants.memory.tasks(waiting);
        self.next_task(number);
    }

    /// Handles waiting tasks until one takes time.
    fn next_task(&mut self, number: usize) {
        while self.workers[number].executor.current.is_none()
            && let Some(task) = self.workers[number].executor.tasks.pop_front()
        {
            self.workers[number].executor.current = Some(task.clone());
            if !self.begin_task(number, task) {
                self.workers[number].executor.current = None;
            }
        }
    }

    fn task_done(&mut self, number: usize) {
        self.workers[number].executor.current = None;
        self.next_task(number);
    }

    /// Begins a task; `false` if it is finished already.
    fn begin_task(&mut self, number: usize, task: Task) -> bool {
        let executor = &mut self.workers[number].executor;
        match task {
            Task::Prepare(context, job, message) => {
                let spec =
                    wire::from_proto(&message).and_then(|file| file.validate()).expect("a checked job");
                let mut took = self.dice.between(millis(1), millis(400));
                if self.workers[number].lie == Some(Lie::Class) {
                    took = 1;
                }
                self.step_later(number, took, Step::Prepared(context, job, Box::new(spec)));
                true
            }
            Task::SendInitialState(context, job) => {
                let Some(loaded) = executor.loaded.as_ref().filter(|loaded| loaded.job == job) else {
                    return false;
                };
                let state = Box::new(toy::initial(&loaded.spec));
                let took = self.dice.between(millis(1), millis(100));
                self.step_later(number, took, Step::Drawn(context, job, state));
                true
            }
            Task::Compute(context, count, assignment) => {
                self.begin_compute(number, context, count, assignment)
            }
            Task::Release(job) => {
                executor.loaded.take_if(|loaded| loaded.job == job);
                false
            }
        }
    }

    fn begin_compute(&mut self, number: usize, context: Context, count: u64, assignment: Assignment) -> bool {
        let executor = &mut self.workers[number].executor;
        if !executor.counts(count) {
            return false;
        }
        let job = &assignment.request.job;
        let Some(loaded) = executor.loaded.as_mut().filter(|loaded| loaded.job == *job) else { return false };
        let holds = loaded.weights.as_ref().is_some_and(|(fencing_token, version, _)| {
            (fencing_token, *version) == (&context.fencing_token, assignment.weights_version)
        });
        if holds {
            self.next_shard(number, context, count, assignment, 0, 0);
        } else {
            loaded.weights = None;
            if self.gather_weights(number, &context, &assignment) {
                return true;
            }
            let job = &assignment.request.job;
            let what = What::Weights(job.clone(), assignment.weights_version);
            self.begin_transfer(number, &context.fencing_token, what);
        }
        true
    }

    fn step_later(&mut self, number: usize, took: Micros, step: Step) {
        let worker = &mut self.workers[number];
        worker.executor.steps += 1;
        let event = ScheduledEvent::Executed(number, worker.start, worker.executor.steps, Box::new(step));
        self.agenda.add(self.now + took, event);
    }

    fn next_shard(
        &mut self,
        number: usize,
        context: Context,
        count: u64,
        assignment: Assignment,
        segment: usize,
        done: u32,
    ) {
        let worker = &self.workers[number];
        let slow = !self.healed && worker.slow_until > self.now;
        let took = worker.shard_time * if slow { 10 } else { 1 };
        self.step_later(number, took, Step::Shard(context, count, assignment, segment, done));
    }

    /// A step of the executor is finished.
    pub(crate) fn executed(&mut self, number: usize, start: u64, count: u64, step: Step) {
        let worker = &mut self.workers[number];
        if !worker.alive || worker.start != start || worker.executor.steps != count {
            return;
        }
        if worker.stuck_until > self.now {
            let until = worker.stuck_until;
            if until == Micros::MAX {
                return;
            }
            return self.agenda.add(until, ScheduledEvent::Executed(number, start, count, Box::new(step)));
        }
        match step {
            Step::Prepared(context, job, spec) => {
                let message = lies::prepared(worker.lie, job.clone(), toy::description(&spec));
                worker.executor.loaded = Some(Loaded { job, spec: *spec, weights: None });
                self.say(number, &context, message);
                self.task_done(number);
            }
            Step::Drawn(..) if worker.lie == Some(Lie::Description) => self.task_done(number),
            Step::Drawn(context, job, state) => {
                self.begin_transfer(number, &context.fencing_token, What::OfferState(job, state.into()));
            }
            Step::Shard(context, count, assignment, segment, done) => {
                self.shard_done(number, context, count, assignment, segment, done);
            }
        }
    }

    fn shard_done(
        &mut self,
        number: usize,
        context: Context,
        count: u64,
        assignment: Assignment,
        mut segment: usize,
        mut done: u32,
    ) {
        let worker = &mut self.workers[number];
        if !worker.executor.counts(count) {
            return self.task_done(number);
        }
        worker.progress += 1;
        done += 1;
        if done == assignment.segments[segment].len() {
            let delivers = worker.lie != Some(Lie::Progress);
            let seconds = (u64::from(done) * worker.shard_time) as f64 / 1e6;
            if delivers
                && let Some(upload) = self.partial(number, &context, &assignment, segment, seconds)
                && !self.offer_partial(number, &assignment, &upload)
            {
                self.begin_transfer(number, &context.fencing_token, What::Offer(Arc::new(upload)));
            }
            (segment, done) = (segment + 1, 0);
        }
        if segment == assignment.segments.len() {
            self.task_done(number);
        } else {
            self.next_shard(number, context, count, assignment, segment, done);
        }
    }

    /// The partial of a segment, computed at the weights in the worker's memory.
    fn partial(
        &self,
        number: usize,
        context: &Context,
        assignment: &Assignment,
        segment: usize,
        compute_seconds: f64,
    ) -> Option<Upload> {
        let loaded = self.workers[number].executor.loaded.as_ref()?;
        let (_, _, weights) = loaded.weights.as_ref()?;
        let segment = assignment.segments[segment];
        let kind: RequestKind = assignment.coordinates.kind;
        let mut partial = toy::partial(&loaded.spec, &weights.parameters, kind, segment);
        if self.workers[number].lie == Some(Lie::Class) {
            partial.gradient.iter_mut().for_each(|number| *number = 0.0);
        }
        let header = PartialHeader {
            origin: Origin { fencing_token: context.fencing_token.clone(), identity: identity_of(number) },
            request: assignment.request.clone(),
            segment,
            gradient: partial.gradient.len() as u64,
            statistics: partial.statistics.len() as u64,
            format: loaded.spec.train.exchange,
            samples: partial.sums.samples,
            busy: Busy { compute: compute_seconds, data: 0.0 },
        };
        Some(Upload::new(header, partial))
    }

    /// A transfer has ended, with or without success; the executor continues if it waited for it.
    pub(crate) fn transferred(&mut self, number: usize, what: What, weights: Option<Weights>) {
        match (what, self.workers[number].executor.current.clone()) {
            (What::OfferState(..) | What::State(..), Some(Task::SendInitialState(..))) => {
                self.task_done(number)
            }
            (What::Weights(_, version), Some(Task::Compute(context, count, assignment))) => {
                let loaded = self.workers[number].executor.loaded.as_mut();
                let Some((weights, loaded)) = weights.zip(loaded) else { return self.task_done(number) };
                loaded.weights = Some((context.fencing_token.clone(), version, weights));
                self.next_shard(number, context, count, assignment, 0, 0);
            }
            (What::WeightBlocks(_, version, range), _) => {
                self.weights_downloaded(number, version, range, weights);
            }
            _ => {}
        }
    }
}
