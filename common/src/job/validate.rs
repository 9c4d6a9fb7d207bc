//! Checks of a job: from what was written to what it means.

use super::file::*;
use super::method::*;
use super::spec::*;
use crate::digest::Digest;
use crate::schedule::Shape;

/// Most samples in a batch, outer steps, epochs and the like: beyond any use, below any overflow.
const MAX_COUNT: u64 = 1 << 40;
/// Most shards.
const MAX_SHARDS: u64 = 4096;
/// Shards where the job does not say, unless a batch has fewer samples.
const DEFAULT_SHARDS: u64 = 8;
/// Most inner steps.
const MAX_K: u64 = 1000;
/// Most workers that can be asked for.
const MAX_WORKERS: u64 = 100_000;
/// Highest priority; its negative is the lowest.
const MAX_PRIORITY: u32 = 100;
/// Most bytes of a name.
const MAX_NAME: usize = 128;

/// What is wrong with a job, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct JobError {
    /// Path of the key, for example `train.batch_size`.
    pub path: String,
    /// What was expected and what was found.
    pub problem: String,
}

impl JobError {
    /// An error at a key.
    pub fn new(path: &str, problem: &str) -> Self {
        Self { path: path.to_owned(), problem: problem.to_owned() }
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

/// Refuses a key that the chosen method or kind has no use for.
fn unused<T>(path: &str, value: &Option<T>, chosen: &str) -> Checked<()> {
    match value {
        Some(_) => Err(JobError::new(path, &format!("has no meaning with {chosen}; remove it"))),
        None => Ok(()),
    }
}

fn text(path: &str, value: &str) -> Checked<String> {
    let printable = value.chars().all(|c| c.is_alphanumeric() || " -_.".contains(c));
    if value.trim().is_empty() || value.len() > MAX_NAME || !printable {
        let shown: String = value.chars().take(40).flat_map(char::escape_debug).collect();
        return refuse(
            path,
            &format!("1 to {MAX_NAME} bytes of letters, digits, ' ', '-', '_' or '.'"),
            shown,
        );
    }
    Ok(value.to_owned())
}

impl JobFile {
    /// Checks everything that needs neither the model nor the data.
    ///
    /// # Errors
    /// Names the first key whose value is impossible, what was expected and what was found.
    pub fn validate(&self) -> Result<JobSpec, JobError> {
        let train = self.train.validate()?;
        Ok(JobSpec {
            name: text("name", &self.name)?,
            seed: count("seed", self.seed.unwrap_or(0), 0, i64::MAX as u64)?,
            model: self.model.validate()?,
            data: DataSpec {
                kind: text("data.kind", &self.data.kind)?,
                shuffle: self.data.shuffle.unwrap_or(true),
                drop_last: self.data.drop_last.unwrap_or(false),
                parameters: self.data.parameters.clone(),
            },
            optimizer: self.optimizer.validate()?,
            schedule: self.schedule.validate(train.length)?,
            checkpoint: self.checkpoint.validate(train.length)?,
            eval_every_epochs: match self.eval.every_epochs.unwrap_or(1) {
                0 => None,
                every => Some(count("eval.every_epochs", every, 0, MAX_COUNT)?),
            },
            resources: self.resources.validate()?,
            train,
        })
    }
}

impl ModelSection {
    fn validate(&self) -> Checked<ModelSpec> {
        let init = match &self.init {
            Some(path) => Some(init_digest(path)?),
            None => None,
        };
        Ok(ModelSpec { kind: text("model.kind", &self.kind)?, init, parameters: self.parameters.clone() })
    }
}

/// A path stands for a file that is not uploaded yet; its digest is not known before that.
fn init_digest(text: &str) -> Checked<Digest> {
    Digest::parse(text).map_or_else(
        || {
            let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
            refuse("model.init", "the digest of an uploaded file (64 lower-case hex digits)", shown)
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
            compute_classes: self.compute_classes.unwrap_or_default(),
        })
    }
}

impl OptimizerSection {
    fn validate(&self) -> Checked<OptimizerSpec> {
        Ok(OptimizerSpec {
            method: self.method()?,
            batch_statistics: self.batch_statistics.unwrap_or_default(),
            base: self.base.validate()?,
        })
    }

    fn method(&self) -> Checked<Method> {
        use MethodName::{Lookahead, LookaheadSam, Lookbehind, MultistepSam, Sam, Sgd};
        let chosen = &format!("method {}", self.method.as_str());
        if matches!(self.method, Sgd | Lookahead) {
            unused("optimizer.ascent", &self.ascent, chosen)?;
            unused("optimizer.rho", &self.rho, chosen)?;
            unused("optimizer.eta", &self.eta, chosen)?;
            unused("optimizer.perturbation", &self.perturbation, chosen)?;
        }
        // sgd and sam are the family at k = 1 and α = 1: saying so is no mistake.
        if matches!(self.method, Sgd | Sam) {
            unused("optimizer.k", &self.k.filter(|&k| k != 1), chosen)?;
        }
        if matches!(self.method, Sgd | Sam | MultistepSam) {
            let alpha = self.alpha.filter(|&alpha| alpha != AlphaValue::Static(1.0));
            unused("optimizer.alpha", &alpha, chosen)?;
        }
        if !matches!(self.method, Lookbehind) {
            unused("optimizer.gradients", &self.gradients, chosen)?;
        }
        if !matches!(self.method, Lookbehind | MultistepSam) {
            unused("optimizer.minibatch", &self.minibatch, chosen)?;
        }
        Ok(match self.method {
            Sgd => Method::Sgd,
            Sam => Method::Sam { ascent: self.ascent()? },
            Lookahead => Method::Lookahead { k: self.k()?, alpha: self.alpha()? },
            LookaheadSam => {
                Method::LookaheadSam { ascent: self.ascent()?, k: self.k()?, alpha: self.alpha()? }
            }
            MultistepSam => {
                Method::MultistepSam { ascent: self.ascent()?, k: self.k()?, minibatch: self.minibatch() }
            }
            Lookbehind => Method::Lookbehind {
                ascent: self.ascent()?,
                k: self.k()?,
                alpha: self.alpha()?,
                gradients: self.gradients()?,
            },
        })
    }

    fn ascent(&self) -> Checked<Ascent> {
        let rho = number("optimizer.rho", self.rho.unwrap_or(0.05), "a positive number up to 1e6", |rho| {
            rho > 0.0 && rho <= 1e6
        })?;
        let eta = match self.ascent.unwrap_or(AscentName::Sam) {
            AscentName::Sam => {
                unused("optimizer.eta", &self.eta, "ascent sam")?;
                None
            }
            AscentName::Asam => Some(number("optimizer.eta", self.eta.unwrap_or(0.01), "0 to 1e6", |eta| {
                (0.0..=1e6).contains(&eta)
            })?),
        };
        Ok(Ascent { rho, eta })
    }

    fn k(&self) -> Checked<u32> {
        small("optimizer.k", self.k.unwrap_or(2), 1, MAX_K)
    }

    fn alpha(&self) -> Checked<Alpha> {
        match self.alpha.unwrap_or(AlphaValue::Static(0.5)) {
            AlphaValue::Adaptive => Ok(Alpha::Adaptive),
            AlphaValue::Static(alpha) => {
                let expected = "a number above 0 and up to 1, or \"adaptive\"";
                number("optimizer.alpha", alpha, expected, |alpha| alpha > 0.0 && alpha <= 1.0)
                    .map(Alpha::Static)
            }
        }
    }

    fn minibatch(&self) -> Minibatch {
        self.minibatch.unwrap_or_default()
    }

    fn gradients(&self) -> Checked<InnerGradients> {
        match (self.gradients.unwrap_or(GradientsName::Reuse), self.minibatch()) {
            (GradientsName::Reuse, Minibatch::Same) => Ok(InnerGradients::Reuse),
            (GradientsName::Reuse, Minibatch::Switch) => Err(JobError::new(
                "optimizer.gradients",
                "\"reuse\" needs minibatch = \"same\": a gradient of one batch cannot serve another; \
                 set gradients = \"reference\"",
            )),
            (GradientsName::Reference, minibatch) => Ok(InnerGradients::Reference(minibatch)),
        }
    }
}

impl BaseSection {
    fn validate(&self) -> Checked<BaseOptimizer> {
        let (default_lr, default_decay) = match self.kind {
            BaseName::Sgd => (0.1, 0.0),
            BaseName::Adamw => (0.001, 0.01),
        };
        let lr = number(
            "optimizer.base.lr",
            self.lr.unwrap_or(default_lr),
            "a positive number up to 1e6",
            |lr| lr > 0.0 && lr <= 1e6,
        )?;
        let decay = self.weight_decay.unwrap_or(default_decay);
        let weight_decay =
            number("optimizer.base.weight_decay", decay, "0 to 1e6", |d| (0.0..=1e6).contains(&d))?;
        match self.kind {
            BaseName::Sgd => self.sgd(lr, weight_decay),
            BaseName::Adamw => self.adamw(lr, weight_decay),
        }
    }

    fn sgd(&self, lr: f64, weight_decay: f64) -> Checked<BaseOptimizer> {
        unused("optimizer.base.betas", &self.betas, "kind sgd")?;
        unused("optimizer.base.eps", &self.eps, "kind sgd")?;
        let momentum = fraction("optimizer.base.momentum", self.momentum.unwrap_or(0.0))?;
        let nesterov = self.nesterov.unwrap_or(false);
        if nesterov && momentum == 0.0 {
            return Err(JobError::new("optimizer.base.nesterov", "needs a momentum above 0"));
        }
        Ok(BaseOptimizer::Sgd { lr, momentum, nesterov, weight_decay })
    }

    fn adamw(&self, lr: f64, weight_decay: f64) -> Checked<BaseOptimizer> {
        unused("optimizer.base.momentum", &self.momentum, "kind adamw")?;
        unused("optimizer.base.nesterov", &self.nesterov, "kind adamw")?;
        let betas = self.betas.unwrap_or(DEFAULT_BETAS);
        Ok(BaseOptimizer::AdamW {
            lr,
            betas: [
                fraction("optimizer.base.betas[0]", betas[0])?,
                fraction("optimizer.base.betas[1]", betas[1])?,
            ],
            eps: number("optimizer.base.eps", self.eps.unwrap_or(1e-8), "a number above 0 up to 1", |e| {
                e > 0.0 && e <= 1.0
            })?,
            weight_decay,
        })
    }
}

fn fraction(path: &str, value: f64) -> Checked<f64> {
    number(path, value, "a number from 0 to below 1", |v| (0.0..1.0).contains(&v))
}

impl ScheduleSection {
    fn validate(&self, length: Length) -> Checked<Schedule> {
        let (Length::Epochs(units) | Length::Steps(units)) = length;
        let shape = match self.kind {
            ScheduleName::Constant => Shape::Constant,
            ScheduleName::Multistep => self.multistep()?,
            ScheduleName::Cosine => Shape::Cosine {
                min_lr: number("schedule.min_lr", self.min_lr.unwrap_or(0.0), "0 to 1e6", |lr| {
                    (0.0..=1e6).contains(&lr)
                })?,
            },
        };
        if self.kind != ScheduleName::Multistep {
            let milestones = (!self.milestones.is_empty()).then_some(());
            unused("schedule.milestones", &milestones, "this schedule.kind")?;
            unused("schedule.gamma", &self.gamma, "this schedule.kind")?;
        }
        if self.kind != ScheduleName::Cosine {
            unused("schedule.min_lr", &self.min_lr, "this schedule.kind")?;
        }
        let warmup = self.warmup.unwrap_or(0);
        if warmup >= units {
            return refuse("schedule.warmup", &format!("less than the run's length of {units}"), warmup);
        }
        let start = self.warmup_start.unwrap_or(0.1);
        let expected = "a number above 0 and up to 1";
        let warmup_start = number("schedule.warmup_start", start, expected, |s| s > 0.0 && s <= 1.0)?;
        Ok(Schedule { shape, warmup, warmup_start })
    }

    fn multistep(&self) -> Checked<Shape> {
        if self.milestones.is_empty() || !self.milestones.is_sorted_by(|a, b| a < b) {
            return refuse(
                "schedule.milestones",
                "a rising list of at least one",
                format!("{:?}", self.milestones),
            );
        }
        let gamma =
            number("schedule.gamma", self.gamma.unwrap_or(0.1), "a number above 0 and up to 1", |g| {
                g > 0.0 && g <= 1.0
            })?;
        Ok(Shape::Multistep { milestones: self.milestones.clone(), gamma })
    }
}

impl CheckpointSection {
    fn validate(&self, length: Length) -> Checked<CheckpointSpec> {
        let every = match (self.every_epochs, self.every_steps) {
            (Some(_), Some(_)) => {
                return Err(JobError::new(
                    "checkpoint.every_steps",
                    "give every_epochs or every_steps, not both",
                ));
            }
            (Some(0), None) | (None, Some(0)) => None,
            (Some(epochs), None) => {
                Some(Length::Epochs(count("checkpoint.every_epochs", epochs, 0, MAX_COUNT)?))
            }
            (None, Some(steps)) => Some(Length::Steps(count("checkpoint.every_steps", steps, 0, MAX_COUNT)?)),
            (None, None) => match length {
                Length::Epochs(_) => Some(Length::Epochs(1)),
                Length::Steps(_) => None,
            },
        };
        let keep = small("checkpoint.keep", self.keep.unwrap_or(2), 1, 10_000)?;
        Ok(CheckpointSpec { every, keep, on_failure: self.on_failure.unwrap_or_default() })
    }
}

impl ResourcesSection {
    fn validate(&self) -> Checked<ResourcesSpec> {
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
        Ok(ResourcesSpec { min_workers, max_workers, priority })
    }
}
