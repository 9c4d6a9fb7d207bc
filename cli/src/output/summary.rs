//! `summary.json`: the results of a run, computed from the metrics of its outer steps.

use std::collections::BTreeMap;

use lookbehind_common::job::JobSpec;
use lookbehind_coordinator::state::Route;
use lookbehind_proto::json::{BestJson, TimeJson, state_name};
use lookbehind_proto::v1;
use serde::Serialize;

use crate::error::CliError;
pub use crate::output::best::{Selected, TestResult};

use crate::output::best::Evaluations;
use crate::output::estimate::{self, Costs, OneMoreWorker};
use crate::output::model::Model;
use crate::watch::time_of;

/// The results of a run. Equal jobs have equal summaries before `job_id`. The fields from there on differ between runs,
/// so that a comparison can ignore everything after that point.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The job's name.
    pub name: String,
    /// The job's state.
    pub state: &'static str,
    /// Number of completed outer steps.
    pub outer_steps: u64,
    /// Total number of outer steps; 0 until the data set is known.
    pub total_outer_steps: u64,
    /// Digest of the slow weights after the last completed outer step, in lower-case hex.
    pub digest: String,
    /// Number of samples consumed.
    pub samples: u64,
    /// Results of the last epoch on the training split; `None` without any outer step.
    pub train: Option<TrainResult>,
    /// The newest result on the test split; `None` if there has been no test.
    pub test: Option<TestResult>,
    /// The result with the highest accuracy on the test split, the first of equal ones; `None` if there has been no test.
    pub best: Option<TestResult>,
    /// The evaluation that validation chooses; absent without `data.validation`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selected: Option<Selected>,
    /// The evaluation whose checkpoint is kept; absent without `checkpoint.keep_best`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_checkpoint: Option<BestJson>,
    /// The newest result in validation; absent without `data.validation`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<TestResult>,
    /// The newest result on the training split with clean labels; absent without `data.label_noise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean: Option<TestResult>,
    /// The newest result on the training samples with wrong labels, whose accuracy is the memorised share; absent without
    /// `data.label_noise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memorised: Option<TestResult>,
    /// Gradients of whole batches that were computed.
    pub gradients: Gradients,
    /// Names of the classes in the order of the model's outputs; absent where classes are numbers, or without a model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// What was read of the data, what of them was left out, and what was converted, in lines; absent without a model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<String>,
    /// The job's identity.
    pub job_id: String,
    /// Why the job is in its state. The text may name workers and users.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Time split of the outer steps.
    pub time: TimeResult,
    /// Whether one more worker would help; `None` if it cannot be estimated.
    pub one_more_worker: Option<OneMoreWorker>,
}

/// Loss and accuracy over the outer steps of an epoch. Each outer step is measured at its own slow weights and weighted
/// by its number of samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrainResult {
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// Mean loss.
    pub loss: f64,
    /// Share of correctly classified samples.
    pub accuracy: f64,
}

/// Number of computed gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Gradients {
    /// Over all outer steps.
    pub total: u64,
    /// Mean per outer step.
    pub per_outer_step: f64,
}

/// Time split of the outer steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimeResult {
    /// Total seconds.
    pub seconds: TimeJson,
    /// Shares of the total, 0 to 1.
    pub share: TimeJson,
}

impl Summary {
    /// Sets the downloaded model.
    ///
    /// # Errors
    /// If the job or its metrics have another digest for the same outer step.
    pub fn set_model(&mut self, job: &v1::Job, model: &Model) -> Result<(), CliError> {
        let digests = [
            ("the job's result has", job.outer_step, &job.digest),
            ("the metrics report", self.outer_steps, &self.digest),
        ];
        for (who, outer_step, digest) in digests {
            if outer_step == model.outer_step && !digest.is_empty() && *digest != model.digest {
                let problem = format!(
                    "{who} digest {digest} after outer step {outer_step}, the file has {}",
                    model.digest
                );
                return Err(CliError::Model { path: model.path.clone(), problem });
            }
        }
        self.outer_steps = model.outer_step;
        self.digest.clone_from(&model.digest);
        self.classes.clone_from(&model.class_names);
        self.data.clone_from(&model.data_report);
        Ok(())
    }
}

/// Accumulates the outer steps of a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    steps: u64,
    samples: u64,
    gradients: u64,
    time: TimeJson,
    by_workers: BTreeMap<(u32, Route), (u64, TimeJson)>,
    epoch: EpochTally,
    evaluations: Evaluations,
    last_digest: String,
    last_outer_step: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct EpochTally {
    epoch: u64,
    samples: f64,
    loss: f64,
    accuracy: f64,
}

impl Tally {
    /// Adds an outer step.
    pub fn step(&mut self, step: &v1::OuterStepMetrics) {
        let time = time_of(step);
        self.steps += 1;
        self.samples += step.samples;
        self.gradients += u64::from(step.gradients);
        add(&mut self.time, &time);
        let between_workers = 2 * step.exchanged > step.gradients;
        let route = if between_workers { Route::Workers } else { Route::Coordinator };
        let (steps, sum) = self.by_workers.entry((step.workers, route)).or_default();
        *steps += 1;
        add(sum, &time);
        self.epoch.add(step);
        self.evaluations.step(step);
        self.last_outer_step = step.outer_step;
        self.last_digest.clone_from(&step.digest);
    }

    /// Number of outer steps completed at the last one that was added.
    pub fn outer_steps(&self) -> u64 {
        self.last_outer_step
    }

    /// The results of the run. `spec` is the job's specification, if it is known.
    pub fn summary(&self, job: &v1::Job, spec: Option<&JobSpec>) -> Summary {
        let steps = self.steps.max(1) as f64;
        let Evaluations { test, best, selected, validation, clean, memorised } = self.evaluations;
        Summary {
            name: job.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default(),
            state: state_name(job.state()),
            outer_steps: self.last_outer_step,
            total_outer_steps: job.total_outer_steps,
            digest: self.last_digest.clone(),
            samples: self.samples,
            train: self.epoch.result(),
            test,
            best,
            selected,
            best_checkpoint: job
                .results
                .as_ref()
                .and_then(|results| results.best.as_ref())
                .map(BestJson::from),
            validation,
            clean,
            memorised,
            gradients: Gradients { total: self.gradients, per_outer_step: self.gradients as f64 / steps },
            classes: Vec::new(),
            data: Vec::new(),
            job_id: job.id.clone(),
            message: job.message.clone(),
            time: TimeResult { seconds: self.time, share: share(&self.time) },
            one_more_worker: spec.and_then(|spec| estimate::one_more_worker(&self.costs()?, spec)),
        }
    }

    /// The cost of the outer steps with the most frequent number of workers and route.
    fn costs(&self) -> Option<Costs> {
        let (&(workers, route), &(steps, sum)) =
            self.by_workers.iter().max_by_key(|(kind, (steps, _))| (*steps, **kind))?;
        let per_step = scaled(&sum, 1.0 / steps as f64);
        Some(Costs { workers, route, per_step })
    }
}

impl EpochTally {
    fn add(&mut self, step: &v1::OuterStepMetrics) {
        if step.epoch != self.epoch {
            *self = Self { epoch: step.epoch, ..Self::default() };
        }
        let samples = step.samples as f64;
        self.samples += samples;
        self.loss += samples * step.loss;
        self.accuracy += samples * step.accuracy;
    }

    fn result(&self) -> Option<TrainResult> {
        (self.samples > 0.0).then(|| TrainResult {
            epoch: self.epoch,
            loss: self.loss / self.samples,
            accuracy: self.accuracy / self.samples,
        })
    }
}

fn add(sum: &mut TimeJson, time: &TimeJson) {
    sum.total += time.total;
    sum.compute += time.compute;
    sum.communication += time.communication;
    sum.optimizer += time.optimizer;
    sum.waiting += time.waiting;
    sum.data += time.data;
}

fn scaled(time: &TimeJson, factor: f64) -> TimeJson {
    TimeJson {
        total: time.total * factor,
        compute: time.compute * factor,
        communication: time.communication * factor,
        optimizer: time.optimizer * factor,
        waiting: time.waiting * factor,
        data: time.data * factor,
    }
}

/// Shares of the total; all 0 if the total is 0.
fn share(time: &TimeJson) -> TimeJson {
    scaled(time, if time.total > 0.0 { 1.0 / time.total } else { 0.0 })
}

#[cfg(test)]
mod tests;
