//! The end of an outer step: tests at its weights, and its record.

use std::sync::Arc;

use lookbehind_common::blocks::BlockDigest;
use lookbehind_common::selection::{Criteria, Selection};
use lookbehind_common::test_set::TestSet;

use super::cluster::Cluster;
use super::command::{Command, RequestKind};
use super::due::is_test_due;
use super::halt::{Halt, Handled};
use super::job::Job;
use super::observation::Observation;
use super::results::{BestResult, Results};
use super::step::Step;
use crate::training::Trainer;

impl Cluster {
    /// The optimizer has finished the outer step: issues the first test request if tests are due, else ends the outer step.
    /// `digests`: of the blocks of the slow weights, if these may be exchanged.
    pub(super) fn step_computed(
        &mut self,
        job: &mut Job,
        trainer: Box<Trainer>,
        digests: Arc<[BlockDigest]>,
    ) -> Handled {
        match next_test(job, None)? {
            Some((set, samples)) => {
                let weights = (trainer.slow(), digests);
                self.issue_request(job, trainer, RequestKind::Test(set), samples, Some(weights))
            }
            None => self.end_outer_step(job, trainer),
        }
    }

    /// Records the finished outer step and continues after it.
    pub(super) fn end_outer_step(&mut self, job: &mut Job, mut trainer: Box<Trainer>) -> Handled {
        let now = self.now.elapsed;
        let activation = job.require_active()?.activation;
        let compute_class = job.named_class();
        let every = job.spec.checkpoint.every;
        let criteria = Criteria::of(&job.spec);
        let training = job.require_training()?;
        let before = training.step.position;
        let after = training.plan.after(before);
        let metrics = Box::new(training.step.metrics(compute_class, now)?);
        let timeline = Box::new(training.step.timeline(now));
        let outer_steps = training.plan.outer_steps;
        let is_best = training.selection.note(&criteria, after.outer_step, |set| training.step.tested(set));
        let due = is_best || training.pace.is_due(every, before, after, now);
        let best = best_result(&criteria, &training.selection);
        training.step = Step::new(after, now);
        trainer.set_position(after);
        let id = job.id().clone();
        tracing::debug!(job = %id, outer = metrics.outer_step, loss = metrics.loss, "outer step done");
        job.record.results = Results::after(job.record.results, &metrics, best);
        self.observe(Observation::StepDone {
            job: id.clone(),
            timeline,
            metrics: metrics.clone(),
            outer_steps,
        });
        self.push(Command::Record { job: id, activation, metrics });
        self.continue_training(job, trainer, due)
    }
}

/// The best evaluation that is known, as a job's record has it.
fn best_result(criteria: &Criteria, selection: &Selection) -> Option<BestResult> {
    Some(BestResult { criterion: criteria.keep_best?, evaluation: selection.best()? })
}

/// The test after `done`, and the number of its samples, if tests are due after the current outer step.
pub(super) fn next_test(job: &mut Job, done: Option<TestSet>) -> Result<Option<(TestSet, u64)>, Halt> {
    let training = job.require_training()?;
    let description = &training.description;
    let left = TestSet::ALL.into_iter().filter(|&set| Some(set) > done);
    let next = left.map(|set| (set, description.samples_of(set))).find(|(_, samples)| *samples > 0);
    let before = training.step.position;
    let after = training.plan.after(before);
    let is_last = after.outer_step >= training.plan.outer_steps;
    let is_due = is_last || is_test_due(job, before, after);
    Ok(next.filter(|_| is_due))
}
