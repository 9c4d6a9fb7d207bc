//! A job that trains: outer steps, their evaluations, the test split, checkpoints, the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use lookbehind_common::ids::{JobId, SessionId, WorkId};
use lookbehind_common::job::Length;
use lookbehind_common::optimizer::Evaluation;
use lookbehind_common::reduction::{Node, effective_shards};
use lookbehind_common::sampling::Position;

use super::Core;
use super::assign::{Candidate, divide};
use super::checkpoints::is_checkpoint_due;
use super::command::{Assignment, Command, Coordinates, ToWorker, Weights, WorkKind};
use super::event::Activation;
use super::job::{Closing, Job, Phase, Stage, Training};
use super::observation::Observation;
use super::partials::reduce_sums;
use super::step::Step;
use super::work::Work;
use crate::training::{Advance, Input, Outcome, Trainer};

impl Core {
    pub(super) fn training_mut(&mut self, id: &JobId) -> Option<&mut Training> {
        match &mut self.active_mut(id)?.stage {
            Stage::Training(training) => Some(training),
            _ => None,
        }
    }

    /// Begins the outer step at the trainer's position, or ends the job if there is none left.
    pub(super) fn begin_outer_step(&mut self, id: &JobId, trainer: Box<Trainer>) {
        let now = self.now.elapsed;
        let position = trainer.position();
        let Some(job) = self.jobs.get_mut(id) else { return };
        let rate = |units: u64, unit: u64| {
            job.spec.schedule.learning_rate(job.spec.optimizer.base.lr(), unit, units)
        };
        let learning_rate = match job.spec.train.length {
            Length::Epochs(epochs) => rate(epochs, position.epoch),
            Length::Steps(steps) => rate(steps, position.outer_step),
        };
        let Some(training) = self.training_mut(id) else { return };
        let plan = training.plan;
        if position.outer_step >= plan.outer_steps {
            return self.close(id, &trainer, Closing::Done);
        }
        let batches = plan.batches_at(position);
        let samples = (position.batch..position.batch + batches).map(|batch| plan.batch_samples(batch)).sum();
        training.step = Step::new(position, now);
        training.step.samples = samples;
        training.step.first_sample = position.batch * plan.batch_size();
        training.step.learning_rate = learning_rate;
        training.phase = Phase::Advancing;
        let input = Input::Begin { batches: batches as u32, learning_rate };
        self.advance(id, trainer, input);
    }

    fn advance(&mut self, id: &JobId, trainer: Box<Trainer>, input: Input) {
        if let Some(active) = self.active_mut(id) {
            let activation = active.activation;
            self.push(Command::Advance(id.clone(), activation, trainer, input));
        }
    }

    /// The arithmetic is done: gives out the next evaluation, or ends the outer step.
    pub(super) fn advanced(&mut self, id: &JobId, activation: Activation, advance: Advance) {
        if self.active_job(id, activation).is_none() {
            return;
        }
        let Some(training) = self.training_mut(id) else { return };
        training.step.note_advance(&advance);
        let outer_step = training.step.outer_step;
        match advance.outcome {
            Outcome::Evaluate(evaluation, weights) => self.evaluate(id, advance.trainer, evaluation, weights),
            Outcome::Finished(report, digest) => {
                training.step.report = Some((report, digest));
                self.step_computed(id, advance.trainer);
            }
            Outcome::Failed(reason) => self.fail(id, &format!("outer step {outer_step}: {reason}")),
        }
    }

    /// Gives out the gradient that the optimizer wants.
    fn evaluate(&mut self, id: &JobId, trainer: Box<Trainer>, evaluation: Evaluation, weights: Weights) {
        let Some(training) = self.training_mut(id) else { return };
        let position = training.step.position;
        let batch = position.batch + u64::from(evaluation.batch);
        let samples = training.plan.batch_samples(batch);
        let kind = WorkKind::Gradient { epoch: position.epoch, batch };
        let changed = evaluation.weights_changed || training.weights_version == 0;
        self.give_out(id, trainer, kind, samples, changed.then_some(weights));
    }

    /// Makes a piece of work and assigns its shards; `weights` are published if they are new.
    fn give_out(
        &mut self,
        id: &JobId,
        trainer: Box<Trainer>,
        kind: WorkKind,
        samples: u64,
        weights: Option<Weights>,
    ) {
        let now = self.now.elapsed;
        let Some(shards) = self.jobs.get(id).map(|job| job.spec.train.shards) else { return };
        let Some(training) = self.training_mut(id) else { return };
        let work =
            WorkId { job: id.clone(), outer_step: training.step.outer_step, evaluation: training.step.works };
        training.step.works += 1;
        if weights.is_some() {
            training.weights_version += 1;
        }
        let version = training.weights_version;
        let coordinates = Coordinates { kind, samples, shards: effective_shards(samples, shards) };
        let work = Work::new(work, coordinates, version, now);
        training.phase = Phase::Gathering(trainer, Box::new(work));
        if let Some(weights) = weights {
            self.push(Command::Publish(id.clone(), version, weights));
        }
        self.assign_rest(id);
    }

    /// Assigns all shards of the work in hand that nobody is asked for.
    pub(super) fn assign_rest(&mut self, id: &JobId) {
        let Some(active) = self.active_mut(id) else { return };
        let candidates = active.candidates();
        let Stage::Training(training) = &mut active.stage else { return };
        let Phase::Gathering(_, work) = &mut training.phase else { return };
        for range in work.unassigned() {
            self.assign_range(id, range, &candidates, false);
        }
    }

    /// Assigns some shards of the work in hand; `again` where a late worker has been asked for them before.
    pub(super) fn assign_range(&mut self, id: &JobId, range: Node, candidates: &[Candidate], again: bool) {
        let now = self.now.elapsed;
        let names: BTreeMap<SessionId, Arc<str>> =
            candidates.iter().map(|one| (one.session, self.workers.shared_name(one.session))).collect();
        let Some(training) = self.training_mut(id) else { return };
        let Phase::Gathering(_, work) = &mut training.phase else { return };
        let (coordinates, weights_version) = (work.coordinates, work.weights_version);
        let mut sent = Vec::new();
        for (session, nodes) in divide(range, coordinates.shards, candidates) {
            work.assign(session, &nodes, now);
            if let Some(name) = names.get(&session) {
                work.remember((session, name), &nodes, again, now);
            }
            let assignment = Assignment { work: work.id.clone(), coordinates, weights_version, nodes };
            sent.push(Command::Send(session, ToWorker::Assign(assignment)));
        }
        self.commands.extend(sent);
    }

    /// Goes on if the work in hand is complete.
    pub(super) fn gathered(&mut self, id: &JobId) {
        let now = self.now.elapsed;
        let Some(training) = self.training_mut(id) else { return };
        let complete = matches!(&training.phase, Phase::Gathering(_, work) if work.is_complete());
        if !complete {
            return;
        }
        let Phase::Gathering(trainer, mut work) = std::mem::replace(&mut training.phase, Phase::Advancing)
        else {
            return;
        };
        training.step.note_work(&mut work, now);
        if let Some(active) = self.active_mut(id) {
            active.note_work(&work);
        }
        let coordinates = work.coordinates;
        let parts = work.into_parts();
        match coordinates.kind {
            WorkKind::Gradient { .. } => {
                self.advance(id, trainer, Input::Gradient { shards: coordinates.shards, parts });
            }
            WorkKind::Test => match reduce_sums(coordinates.shards, parts) {
                Ok(sums) => {
                    if let Some(training) = self.training_mut(id) {
                        training.step.note_test(sums);
                    }
                    self.end_outer_step(id, trainer);
                }
                Err(error) => self.fail(id, &error.to_string()),
            },
        }
    }

    /// The outer step's arithmetic is done: tests the slow weights where that is due.
    fn step_computed(&mut self, id: &JobId, trainer: Box<Trainer>) {
        match self.due_test(id) {
            Some(samples) => {
                let weights = trainer.slow();
                self.give_out(id, trainer, WorkKind::Test, samples, Some(weights));
            }
            None => self.end_outer_step(id, trainer),
        }
    }

    /// Samples of the test split, if it is to be evaluated after the current outer step.
    fn due_test(&mut self, id: &JobId) -> Option<u64> {
        let job = self.jobs.get(id)?;
        let every = job.spec.eval_every_epochs;
        let samples = job.active.as_ref()?.described.as_ref()?.0.test_samples;
        let training = self.training_mut(id)?;
        let (before, after) = (training.step.position, training.plan.after(training.step.position));
        let last = after.outer_step >= training.plan.outer_steps;
        let due = last || every.is_some_and(|every| epoch_reached(before, after, every));
        (due && samples > 0).then_some(samples)
    }

    /// Records the finished outer step and goes on behind it.
    fn end_outer_step(&mut self, id: &JobId, mut trainer: Box<Trainer>) {
        let now = self.now.elapsed;
        let Some(training) = self.training_mut(id) else { return };
        let before = training.step.position;
        let after = training.plan.after(before);
        let mut metrics = Box::new(training.step.metrics(now));
        let timeline = Box::new(training.step.timeline(now));
        let outer_steps = training.plan.outer_steps;
        training.step = Step::new(after, now);
        trainer.set_position(after);
        tracing::debug!(job = %id, outer = metrics.outer_step, loss = metrics.loss, "outer step done");
        let Some(job) = self.jobs.get(id) else { return };
        let Some(activation) = job.active.as_ref().map(|active| active.activation) else { return };
        metrics.compute_class = job.named_class();
        let due = is_checkpoint_due(job, before, after);
        self.observe(Observation::StepDone(id.clone(), timeline, metrics.clone(), outer_steps));
        self.push(Command::Record(id.clone(), activation, metrics));
        self.go_on(id, trainer, due);
    }

    /// The coordinator ends: jobs that cannot finish an outer step stop where their newest checkpoint is.
    pub(super) fn stop_idle_jobs(&mut self) {
        let idle = |job: &Job| match job.active.as_ref() {
            Some(active) => {
                !matches!(active.stage, Stage::Training(_)) || active.members.values().all(|m| !m.prepared)
            }
            None => false,
        };
        let ids: Vec<_> = self.jobs.values().filter(|job| idle(job)).map(|job| job.id().clone()).collect();
        for id in ids {
            self.release(&id);
        }
    }
}

/// Whether the outer step from `before` to `after` completed an epoch whose number is a multiple of `every`.
pub(super) fn epoch_reached(before: Position, after: Position, every: u64) -> bool {
    after.epoch > before.epoch && after.epoch.is_multiple_of(every)
}
