//! Checks a job: turns a [`JobFile`] into a [`JobSpec`].

mod labels;
mod optimizer;
mod schedule;

use std::time::Duration;

use super::file::*;
use super::spec::*;
use crate::digest::Digest;
use crate::ids::JobId;
use crate::text::printable;

/// Limit for samples in a batch, outer steps, epochs and the like: large enough for any use, small enough that their
/// arithmetic does not overflow.
const MAX_COUNT: u64 = 1 << 40;
/// Most shards of a batch.
const MAX_SHARDS: u64 = 4096;
/// Shards if the job gives no number, unless a batch has fewer samples.
const DEFAULT_SHARDS: u64 = 8;
/// Most workers that a job can ask for.
const MAX_WORKERS: u64 = 100_000;
/// Most shards of an outer step that are verified.
const MAX_VERIFIED: u64 = 4096;
/// Highest priority; its negative is the lowest.
const MAX_PRIORITY: u32 = 100;
/// Time between two checkpoints if the job gives no interval: what a crash may cost at most.
const DEFAULT_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Longest time between two checkpoints.
const MINUTES_OF_A_YEAR: f64 = 525_600.0;
/// Most bytes of a name.
const MAX_NAME: usize = 128;
/// What the names of kinds have beside letters and digits.
const KIND_SIGNS: &str = " -_.";
/// What names and the values of labels have beside letters and digits: enough to write settings, as in `lr=0.1, k=5`.
const NAME_SIGNS: &str = " -_.=,:+";

/// A key of a job that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct JobError {
    /// Path of the key, for example `train.batch_size`.
    pub path: String,
    /// What was expected and what was found.
    pub problem: String,
}

impl JobError {
    /// An error at the key with this path.
    pub fn new(path: &str, problem: &str) -> Self {
        Self { path: printable(path).into_owned(), problem: problem.to_owned() }
    }

    pub(super) fn syntax(error: &toml::de::Error) -> Self {
        Self::new("job file", error.to_string().trim_end())
    }
}

type Checked<T> = Result<T, JobError>;

fn refuse<T>(path: &str, expected: &str, found: impl std::fmt::Display) -> Checked<T> {
    Err(JobError::new(path, &format!("expected {expected}, found {found}")))
}

fn count(path: &str, value: u64, min: u64, max: u64) -> Checked<u64> {
    if (min..=max).contains(&value) { Ok(value) } else { refuse(path, &format!("{min} to {max}"), value) }
}

fn small(path: &str, value: u32, min: u64, max: u64) -> Checked<u32> {
    count(path, u64::from(value), min, max).map(|_| value)
}

fn number(path: &str, value: f64, expected: &str, holds: impl Fn(f64) -> bool) -> Checked<f64> {
    if value.is_finite() && holds(value) { Ok(value) } else { refuse(path, expected, value) }
}

/// Refuses a key that the chosen method or kind does not use.
fn unused<T>(path: &str, value: &Option<T>, chosen: &str) -> Checked<()> {
    match value {
        Some(_) => Err(JobError::new(path, &format!("has no meaning with {chosen}; remove it"))),
        None => Ok(()),
    }
}

/// A text of 1 to [`MAX_NAME`] bytes: letters, digits and `signs`, not only spaces.
fn text(path: &str, value: &str, signs: &str) -> Checked<String> {
    let plain = value.chars().all(|c| c.is_alphanumeric() || signs.contains(c));
    if value.trim().is_empty() || value.len() > MAX_NAME || !plain {
        let signs: Vec<String> = signs.chars().map(|sign| format!("'{sign}'")).collect();
        let expected = format!("1 to {MAX_NAME} bytes of letters, digits, {}", alternatives(&signs));
        return refuse(path, &expected, printable(&value.chars().take(40).collect::<String>()));
    }
    Ok(value.to_owned())
}

/// `a, b or c`.
fn alternatives(all: &[String]) -> String {
    match all {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => all.concat(),
    }
}

impl JobFile {
    /// Checks everything that can be checked without the model and the data, and fills in defaults.
    ///
    /// # Errors
    /// Names the first key whose value is not valid, what was expected and what was found.
    pub fn validate(&self) -> Result<JobSpec, JobError> {
        let train = self.train.validate()?;
        let eval_every_epochs = match self.eval.every_epochs.unwrap_or(1) {
            0 => None,
            every => Some(count("eval.every_epochs", every, 0, MAX_COUNT)?),
        };
        Ok(JobSpec {
            name: text("name", &self.name, NAME_SIGNS)?,
            labels: labels::validate(&self.labels)?,
            seed: count("seed", self.seed.unwrap_or(0), 0, i64::MAX as u64)?,
            model: self.model.validate()?,
            data: DataSpec {
                kind: text("data.kind", &self.data.kind, KIND_SIGNS)?,
                shuffle: self.data.shuffle.unwrap_or(true),
                drop_last: self.data.drop_last.unwrap_or(false),
                parameters: self.data.parameters.clone(),
            },
            optimizer: self.optimizer.validate()?,
            schedule: self.schedule.validate(train.length)?,
            checkpoint: self.checkpoint.validate()?,
            eval_every_epochs,
            early_stopping: match &self.early_stopping {
                Some(section) => Some(section.validate(eval_every_epochs)?),
                None => None,
            },
            resources: self.resources.validate(self.train.compute_classes.unwrap_or_default())?,
            train,
        })
    }
}

impl ModelSection {
    fn validate(&self) -> Checked<ModelSpec> {
        let init = match &self.init {
            Some(Init::File(path)) => Some(InitSpec::File(init_digest(path)?)),
            Some(Init::Imported(_)) => {
                let problem = "the client converts the file and passes on the digest of the result";
                return Err(JobError::new("model.init.file", problem));
            }
            Some(Init::Job(from)) => Some(initial_job(from)?),
            None => None,
        };
        let kind = text("model.kind", &self.kind, KIND_SIGNS)?;
        Ok(ModelSpec { kind, init, parameters: self.parameters.clone() })
    }
}

fn initial_job(InitialJob { job, checkpoint, continues }: &InitialJob) -> Checked<InitSpec> {
    let Some(id) = JobId::parse(job) else {
        let shown: String = job.chars().take(40).collect();
        return refuse("model.init.job", "'j' and eight lower-case letters or digits", printable(&shown));
    };
    if let Some(WhichCheckpoint::OuterStep(checkpoint)) = checkpoint {
        count("model.init.checkpoint", *checkpoint, 0, MAX_COUNT)?;
    }
    Ok(InitSpec::Job { job: id, checkpoint: *checkpoint, continues: *continues })
}

/// Refuses a path: it names a file that the client has not uploaded yet, and whose digest is therefore unknown.
fn init_digest(text: &str) -> Checked<Digest> {
    Digest::parse(text).map_or_else(
        || {
            let shown: String = text.chars().take(80).collect();
            let expected = "the digest of an uploaded file (64 lower-case hex digits)";
            refuse("model.init", expected, printable(&shown))
        },
        Ok,
    )
}

impl TrainSection {
    fn validate(&self) -> Checked<TrainSpec> {
        let length = match (self.epochs, self.steps) {
            (Some(epochs), None) => Length::Epochs(count("train.epochs", epochs, 1, MAX_COUNT)?),
            (None, Some(steps)) => Length::Steps(count("train.steps", steps, 1, MAX_COUNT)?),
            (None, None) => return Err(JobError::new("train.epochs", "give either epochs or steps")),
            (Some(_), Some(_)) => {
                return Err(JobError::new("train.steps", "give either epochs or steps, not both"));
            }
        };
        let batch_size = count("train.batch_size", self.batch_size, 1, MAX_COUNT)?;
        let shards = match self.shards {
            Some(shards) => small("train.shards", shards, 1, MAX_SHARDS)?,
            None => batch_size.min(DEFAULT_SHARDS) as u32,
        };
        Ok(TrainSpec {
            length,
            batch_size,
            shards,
            precision: self.precision.unwrap_or_default(),
            exchange: self.exchange.unwrap_or_default(),
            compute_classes: self.compute_classes.unwrap_or_default(),
        })
    }
}

impl CheckpointSection {
    fn validate(&self) -> Checked<CheckpointSpec> {
        let keep = small("checkpoint.keep", self.keep.unwrap_or(2), 1, 10_000)?;
        let on_failure = self.on_failure.unwrap_or_default();
        Ok(CheckpointSpec { every: self.interval()?, keep, on_failure, keep_best: self.keep_best })
    }

    fn interval(&self) -> Checked<CheckpointInterval> {
        let too_many =
            |path| Err(JobError::new(path, "give only one of every_epochs, every_steps and every_minutes"));
        match (self.every_epochs, self.every_steps, self.every_minutes) {
            (None, None, None) => Ok(CheckpointInterval::Time(DEFAULT_CHECKPOINT_INTERVAL)),
            (Some(0), None, None) | (None, Some(0), None) => Ok(CheckpointInterval::AtEnd),
            (Some(epochs), None, None) => {
                let epochs = count("checkpoint.every_epochs", epochs, 0, MAX_COUNT)?;
                Ok(CheckpointInterval::Length(Length::Epochs(epochs)))
            }
            (None, Some(steps), None) => {
                let steps = count("checkpoint.every_steps", steps, 0, MAX_COUNT)?;
                Ok(CheckpointInterval::Length(Length::Steps(steps)))
            }
            (None, None, Some(0.0)) => Ok(CheckpointInterval::AtEnd),
            (None, None, Some(minutes)) => {
                let expected = "0, or a number from 0.01 to 525600";
                let holds = |minutes| (0.01..=MINUTES_OF_A_YEAR).contains(&minutes);
                let minutes = number("checkpoint.every_minutes", minutes, expected, holds)?;
                Ok(CheckpointInterval::Time(Duration::from_secs_f64(60.0 * minutes)))
            }
            (_, Some(_), _) => too_many("checkpoint.every_steps"),
            (Some(_), None, Some(_)) => too_many("checkpoint.every_minutes"),
        }
    }
}

impl EarlyStoppingSection {
    fn validate(&self, eval_every_epochs: Option<u64>) -> Checked<EarlyStopping> {
        if eval_every_epochs.is_none() {
            return refuse("early_stopping", "evaluations during training", "eval.every_epochs = 0");
        }
        let at_least_0 = |delta| delta >= 0.0;
        Ok(EarlyStopping {
            criterion: self.metric.unwrap_or(Criterion::ValidationLoss),
            patience: count("early_stopping.patience", self.patience, 1, MAX_COUNT)?,
            min_delta: number(
                "early_stopping.min_delta",
                self.min_delta.unwrap_or(0.0),
                "at least 0",
                at_least_0,
            )?,
        })
    }
}

impl ResourcesSection {
    fn validate(&self, classes: ComputeClasses) -> Checked<ResourcesSpec> {
        let min_workers = small("resources.min_workers", self.min_workers.unwrap_or(1), 1, MAX_WORKERS)?;
        let max_workers = match self.max_workers {
            Some(max) => Some(small("resources.max_workers", max, u64::from(min_workers), MAX_WORKERS)?),
            None => None,
        };
        let priority = self.priority.unwrap_or(0);
        if priority.abs_diff(0) > MAX_PRIORITY {
            let expected = format!("-{MAX_PRIORITY} to {MAX_PRIORITY}");
            return refuse("resources.priority", &expected, priority);
        }
        let verify = small("resources.verify", self.verify.unwrap_or(0), 0, MAX_VERIFIED)?;
        if verify > 0 && max_workers == Some(1) {
            return refuse("resources.verify", "0 where resources.max_workers is 1", verify);
        }
        if verify > 0 && classes == ComputeClasses::Any {
            // Workers of different classes need not compute the same bytes.
            return refuse("resources.verify", "0 where train.compute_classes is \"any\"", verify);
        }
        Ok(ResourcesSpec { min_workers, max_workers, priority, verify })
    }
}
