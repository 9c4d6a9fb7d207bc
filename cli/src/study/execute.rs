//! Trains runs on a coordinator, several at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use lookbehind_common::digest::Digest;
use lookbehind_proto::json::{TestJson, state_name};
use lookbehind_proto::v1;
use tokio::task::{JoinError, JoinSet};

use super::evaluation::Evaluating;
use super::ledger::{Ledger, Point, Record};
use super::plan::Run;
use super::progress::Progress;
use crate::client::Client;
use crate::error::CliError;
use crate::evaluate::download;
use crate::output::best::Evaluations;
use crate::watch::{Event, Watch, time_of};

/// Most points of a run's curve that are kept.
const POINTS: usize = 200;

/// Where runs are trained.
pub struct Execution {
    /// The coordinator.
    pub client: Client,
    /// Runs at a time.
    pub at_once: usize,
    /// Evaluates the models of the runs that are compared; `None` if the study does not ask for it.
    pub evaluating: Option<Arc<Evaluating>>,
    /// Whether the jobs are deleted when their results are known: those of a cluster in this process.
    pub delete: bool,
}

impl Execution {
    /// Trains those of the runs that are not finished yet. Dropping the future loses no finished run.
    ///
    /// # Errors
    /// If the coordinator refuses or cannot be reached, or a finished run cannot be written.
    pub async fn all(
        &self,
        runs: Vec<(Run, String)>,
        ledger: &mut Ledger,
        progress: &mut Progress,
    ) -> Result<(), CliError> {
        let mut waiting: VecDeque<(Run, String)> =
            runs.into_iter().filter(|(run, _)| ledger.get(&run.key).is_none()).collect();
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.at_once
                && let Some((run, name)) = waiting.pop_front()
            {
                let evaluating = self.evaluating.clone().filter(|_| !run.is_trial);
                let trained = one(self.client.clone(), run, name, ledger.id.clone(), self.delete, evaluating);
                running.spawn(trained);
            }
            let Some(done) = running.join_next().await else { return Ok(()) };
            let record = done.map_err(broken)??;
            progress.done(&record);
            ledger.add(record)?;
        }
    }
}

/// Trains a run. If the study was interrupted, a coordinator that still has its job goes on with that one.
async fn one(
    client: Client,
    run: Run,
    name: String,
    study: String,
    delete: bool,
    evaluating: Option<Arc<Evaluating>>,
) -> Result<Record, CliError> {
    if let Some(init) = &run.source.init {
        client.upload(init).await?;
    }
    let request = Digest::of(format!("{study} {}", run.key).as_bytes()).to_string();
    let job = client.create_job(&request[..32], run.source.message()).await?;
    let mut watch = Watch::new(client.clone(), &job.id);
    let mut observed = Observed::default();
    let over = loop {
        match watch.next().await? {
            Event::Step(step) => observed.step(&step),
            Event::Over(job) => break job,
            Event::Notice(_) | Event::Lost(_) => {}
        }
    };
    let failed = match over.state() {
        v1::JobState::Succeeded => None,
        v1::JobState::Failed => Some(over.message.clone()),
        state => {
            let (id, message) = (over.id.clone(), over.message.clone());
            return Err(CliError::JobEnded { id, state: state_name(state), message });
        }
    };
    let mut evaluation = Vec::new();
    if let Some(evaluating) = evaluating.filter(|_| failed.is_none()) {
        let model = download(&client, &over.id).await?;
        let spec = run.source.spec.clone();
        let computed = tokio::task::spawn_blocking(move || evaluating.evaluate(&spec, &model));
        evaluation = computed.await.map_err(broken)??;
    }
    if delete {
        client.delete(&over.id).await?;
    }
    Ok(Record { evaluation, ..observed.record(&run, name, failed, &over) })
}

/// A task that has panicked.
fn broken(error: JoinError) -> CliError {
    CliError::System { what: "a run of the study", source: std::io::Error::other(error) }
}

/// What was seen of a run.
#[derive(Default)]
struct Observed {
    evaluations: Evaluations,
    outer_steps: u64,
    samples: u64,
    gradients: u64,
    wall_seconds: f64,
    compute_seconds: f64,
    curve: Vec<Point>,
}

impl Observed {
    fn step(&mut self, step: &v1::OuterStepMetrics) {
        let time = time_of(step);
        self.evaluations.step(step);
        self.outer_steps = step.outer_step;
        self.samples += step.samples;
        self.gradients += u64::from(step.gradients);
        self.wall_seconds += time.total;
        self.compute_seconds += time.compute;
        let accuracy = |test: &Option<v1::TestMetrics>| test.as_ref().map(|test| test.accuracy);
        let (test, validation) = (accuracy(&step.test), accuracy(&step.validation));
        if test.is_some() || validation.is_some() {
            self.curve.push(Point { gradients: self.gradients, test, validation });
        }
    }

    fn record(self, run: &Run, variant: String, failed: Option<String>, job: &v1::Job) -> Record {
        let Evaluations { test, best, selected, validation, clean, memorised } = self.evaluations;
        let every = self.curve.len().div_ceil(POINTS).max(1);
        let last = self.curve.len().saturating_sub(1);
        let kept =
            self.curve.into_iter().enumerate().filter(|(place, _)| place % every == 0 || *place == last);
        let metrics = |result: Option<crate::output::best::TestResult>| -> Option<TestJson> {
            result.map(|result| result.metrics)
        };
        Record {
            key: run.key.clone(),
            variant,
            seed: run.seed,
            failed,
            digest: job.digest.clone(),
            outer_steps: self.outer_steps,
            samples: self.samples,
            gradients: self.gradients,
            last: metrics(test),
            best,
            selected,
            validation: metrics(validation),
            clean: metrics(clean),
            memorised: metrics(memorised),
            wall_seconds: self.wall_seconds,
            compute_seconds: self.compute_seconds,
            evaluation: Vec::new(),
            curve: kept.map(|(_, point)| point).collect(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            job: run.source.file().clone(),
        }
    }
}
