//! `summary.json`: a run in numbers, gathered from the metrics of its outer steps.

use std::collections::BTreeMap;

use lookbehind_common::job::JobSpec;
use lookbehind_proto::v1;
use serde::Serialize;

use crate::error::CliError;
use crate::json::{TestJson, TimeJson};
use crate::output::estimate::{self, Costs, OneMoreWorker};
use crate::output::model::Model;
use crate::text::state_word;

/// A run in numbers. Equal jobs have equal summaries up to `job_id`: from there on stands what tells one run from
/// another, so that a reader who compares summaries can cut it off.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The job's label.
    pub name: String,
    /// Where it stands.
    pub state: &'static str,
    /// Outer steps done.
    pub outer_steps: u64,
    /// Outer steps in all; 0 until the data set is known.
    pub total_outer_steps: u64,
    /// Lower-case hex BLAKE3 of the weights after the last of them.
    pub digest: String,
    /// Samples consumed.
    pub samples: u64,
    /// The last epoch on the training split.
    pub train: Option<TrainResult>,
    /// The newest result on the test split.
    pub test: Option<TestResult>,
    /// Gradients of whole batches that were computed.
    pub gradients: Gradients,
    /// The job's identity.
    pub job_id: String,
    /// Why the job is in its state, in words, which may name workers and users.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Where the time of the outer steps went.
    pub time: TimeResult,
    /// Whether one more worker would help.
    pub one_more_worker: Option<OneMoreWorker>,
}

/// Loss and accuracy over an epoch's outer steps, each at the slow weights of its time and weighted by its
/// samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrainResult {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Mean loss.
    pub loss: f64,
    /// Share of samples classified rightly.
    pub accuracy: f64,
}

/// A result on the test split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TestResult {
    /// Outer steps done then.
    pub outer_step: u64,
    /// The result.
    #[serde(flatten)]
    pub metrics: TestJson,
}

/// Gradients that were computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Gradients {
    /// All of them.
    pub total: u64,
    /// The mean per outer step.
    pub per_outer_step: f64,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimeResult {
    /// Seconds.
    pub seconds: TimeJson,
    /// Shares of the total, 0 to 1.
    pub share: TimeJson,
}

impl Summary {
    /// Takes the model that was fetched.
    ///
    /// # Errors
    /// When the job or its metrics tell of other weights after the same outer step.
    pub fn set_model(&mut self, job: &v1::Job, model: &Model) -> Result<(), CliError> {
        let told = [
            ("the job's result has", job.outer_step, &job.digest),
            ("the metrics tell of", self.outer_steps, &self.digest),
        ];
        for (who, outer_step, digest) in told {
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
        Ok(())
    }
}

/// Gathers a run's outer steps.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    steps: u64,
    samples: u64,
    gradients: u64,
    time: TimeJson,
    by_workers: BTreeMap<u32, (u64, TimeJson)>,
    epoch: EpochTally,
    test: Option<TestResult>,
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
        let time = TimeJson::of(step);
        self.steps += 1;
        self.samples += step.samples;
        self.gradients += u64::from(step.gradients);
        add(&mut self.time, &time);
        let (steps, sum) = self.by_workers.entry(step.workers).or_default();
        *steps += 1;
        add(sum, &time);
        self.epoch.add(step);
        if let Some(test) = &step.test {
            self.test = Some(TestResult { outer_step: step.outer_step, metrics: TestJson::from(test) });
        }
        self.last_outer_step = step.outer_step;
        self.last_digest.clone_from(&step.digest);
    }

    /// Outer steps done after the last one that was added.
    pub fn outer_steps(&self) -> u64 {
        self.last_outer_step
    }

    /// The run in numbers; `spec` is what the job means, where it is known.
    pub fn summary(&self, job: &v1::Job, spec: Option<&JobSpec>) -> Summary {
        let steps = self.steps.max(1) as f64;
        Summary {
            name: job.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default(),
            state: state_word(job.state()),
            outer_steps: self.last_outer_step,
            total_outer_steps: job.total_outer_steps,
            digest: self.last_digest.clone(),
            samples: self.samples,
            train: self.epoch.result(),
            test: self.test,
            gradients: Gradients { total: self.gradients, per_outer_step: self.gradients as f64 / steps },
            job_id: job.id.clone(),
            message: job.message.clone(),
            time: TimeResult { seconds: self.time, share: share(&self.time) },
            one_more_worker: spec.and_then(|spec| estimate::one_more_worker(&self.costs()?, spec)),
        }
    }

    /// The costs with the number of workers that most outer steps had.
    fn costs(&self) -> Option<Costs> {
        let (&workers, &(steps, sum)) =
            self.by_workers.iter().max_by_key(|(workers, (steps, _))| (*steps, **workers))?;
        let per_step = scaled(&sum, 1.0 / steps as f64);
        Some(Costs { workers, per_step })
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

/// Shares of the total; all 0 where there is none.
fn share(time: &TimeJson) -> TimeJson {
    scaled(time, if time.total > 0.0 { 1.0 / time.total } else { 0.0 })
}

#[cfg(test)]
mod tests;
