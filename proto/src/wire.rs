//! A job on the wire: conversions between [`JobFile`] and the protobuf message, and between their enums.

mod keeping;

use lookbehind_common::job::file::*;
use lookbehind_common::job::{
    BatchStatistics, ComputeClasses, Criterion, DescentGradient, ExchangeFormat, Group, JobError, MethodName,
    Minibatch, OnFailure, Perturbation, Precision, Unit,
};

use self::keeping::*;
use crate::parameters::{from_struct, to_struct};
use crate::v1;

/// The message of a job. Keys that are `None` stay absent, so that the receiver applies the same defaults.
pub fn to_proto(file: &JobFile) -> v1::JobSpec {
    v1::JobSpec {
        name: file.name.clone(),
        seed: file.seed,
        model: Some(v1::ModelSpec {
            kind: file.model.kind.clone(),
            init: match &file.model.init {
                Some(Init::File(digest)) => Some(digest.clone()),
                // A client has replaced the second by the first before.
                Some(Init::Imported(_) | Init::Job(_)) | None => None,
            },
            init_job: match &file.model.init {
                Some(Init::Job(from)) => Some(initial_job_to_proto(from)),
                Some(Init::File(_) | Init::Imported(_)) | None => None,
            },
            parameters: Some(to_struct(&file.model.parameters)),
        }),
        data: Some(v1::DataSpec {
            kind: file.data.kind.clone(),
            shuffle: file.data.shuffle,
            drop_last: file.data.drop_last,
            parameters: Some(to_struct(&file.data.parameters)),
        }),
        train: Some(v1::TrainSpec {
            epochs: file.train.epochs,
            steps: file.train.steps,
            batch_size: file.train.batch_size,
            shards: file.train.shards,
            precision: file.train.precision.map_or(v1::Precision::Unspecified, v1::Precision::from).into(),
            compute_classes: file
                .train
                .compute_classes
                .map_or(v1::ComputeClasses::Unspecified, v1::ComputeClasses::from)
                .into(),
            exchange: file
                .train
                .exchange
                .map_or(v1::ExchangeFormat::Unspecified, v1::ExchangeFormat::from)
                .into(),
        }),
        optimizer: Some(optimizer_to_proto(&file.optimizer)),
        schedule: Some(schedule_to_proto(&file.schedule)),
        checkpoint: Some(checkpoint_to_proto(&file.checkpoint)),
        early_stopping: file.early_stopping.as_ref().map(early_stopping_to_proto),
        eval: Some(v1::EvalSpec { every_epochs: file.eval.every_epochs }),
        resources: Some(v1::ResourcesSpec {
            min_workers: file.resources.min_workers,
            max_workers: file.resources.max_workers,
            priority: file.resources.priority,
            verify: file.resources.verify,
        }),
        labels: file.labels.clone(),
    }
}

/// The job of a message; its values are not checked yet.
///
/// # Errors
/// If a required section is missing, an enum has an unknown value, or a parameter is not valid.
pub fn from_proto(spec: &v1::JobSpec) -> Result<JobFile, JobError> {
    let missing = |path: &str| JobError::new(path, "is missing");
    let model = spec.model.as_ref().ok_or_else(|| missing("model"))?;
    let data = spec.data.as_ref().ok_or_else(|| missing("data"))?;
    let train = spec.train.as_ref().ok_or_else(|| missing("train"))?;
    Ok(JobFile {
        name: spec.name.clone(),
        seed: spec.seed,
        model: ModelSection {
            kind: model.kind.clone(),
            init: init_from_proto(model)?,
            parameters: from_struct("model", model.parameters.as_ref())?,
        },
        data: DataSection {
            kind: data.kind.clone(),
            shuffle: data.shuffle,
            drop_last: data.drop_last,
            parameters: from_struct("data", data.parameters.as_ref())?,
        },
        train: TrainSection {
            epochs: train.epochs,
            steps: train.steps,
            batch_size: train.batch_size,
            shards: train.shards,
            precision: read_enum("train.precision", train.precision)?,
            compute_classes: read_enum("train.compute_classes", train.compute_classes)?,
            exchange: read_enum("train.exchange", train.exchange)?,
        },
        optimizer: optimizer_from_proto(&spec.optimizer.clone().unwrap_or_default())?,
        schedule: schedule_from_proto(&spec.schedule.clone().unwrap_or_default())?,
        checkpoint: checkpoint_from_proto(&spec.checkpoint.unwrap_or_default())?,
        eval: EvalSection { every_epochs: spec.eval.and_then(|eval| eval.every_epochs) },
        early_stopping: spec.early_stopping.as_ref().map(early_stopping_from_proto).transpose()?,
        resources: spec
            .resources
            .map(|r| ResourcesSection {
                min_workers: r.min_workers,
                max_workers: r.max_workers,
                priority: r.priority,
                verify: r.verify,
            })
            .unwrap_or_default(),
        labels: spec.labels.clone(),
    })
}

fn optimizer_to_proto(section: &OptimizerSection) -> v1::OptimizerSpec {
    use v1::optimizer_spec::Interpolation;
    v1::OptimizerSpec {
        method: v1::Method::from(section.method).into(),
        ascent: section.ascent.map_or(v1::Ascent::Unspecified, v1::Ascent::from).into(),
        k: section.k,
        rho: section.rho,
        eta: section.eta,
        interpolation: section.alpha.map(|alpha| match alpha {
            AlphaValue::Static(alpha) => Interpolation::Alpha(alpha),
            AlphaValue::Adaptive => Interpolation::AdaptiveAlpha(true),
        }),
        gradients: section.gradients.map_or(v1::Gradients::Unspecified, v1::Gradients::from).into(),
        minibatch: section.minibatch.map_or(v1::Minibatch::Unspecified, v1::Minibatch::from).into(),
        descent: section.descent.map_or(v1::DescentGradient::Unspecified, v1::DescentGradient::from).into(),
        batch_statistics: section
            .batch_statistics
            .map_or(v1::BatchStatistics::Unspecified, v1::BatchStatistics::from)
            .into(),
        perturbation: section
            .perturbation
            .map_or(v1::Perturbation::Unspecified, v1::Perturbation::from)
            .into(),
        base: Some(base_to_proto(&section.base)),
        groups: section.groups.iter().map(group_to_proto).collect(),
        clip_norm: section.clip_norm,
    }
}

fn optimizer_from_proto(spec: &v1::OptimizerSpec) -> Result<OptimizerSection, JobError> {
    use v1::optimizer_spec::Interpolation;
    Ok(OptimizerSection {
        method: read_enum("optimizer.method", spec.method)?.unwrap_or_default(),
        ascent: read_enum("optimizer.ascent", spec.ascent)?,
        k: spec.k,
        rho: spec.rho,
        eta: spec.eta,
        alpha: match spec.interpolation {
            None => None,
            Some(Interpolation::Alpha(alpha)) => Some(AlphaValue::Static(alpha)),
            Some(Interpolation::AdaptiveAlpha(true)) => Some(AlphaValue::Adaptive),
            Some(Interpolation::AdaptiveAlpha(false)) => {
                return Err(JobError::new("optimizer.adaptive_alpha", "expected true, found false"));
            }
        },
        gradients: read_enum("optimizer.gradients", spec.gradients)?,
        minibatch: read_enum("optimizer.minibatch", spec.minibatch)?,
        descent: read_enum("optimizer.descent", spec.descent)?,
        batch_statistics: read_enum("optimizer.batch_statistics", spec.batch_statistics)?,
        perturbation: read_enum("optimizer.perturbation", spec.perturbation)?,
        base: base_from_proto(&spec.base.unwrap_or_default())?,
        groups: spec.groups.iter().map(group_from_proto).collect(),
        clip_norm: spec.clip_norm,
    })
}

fn group_to_proto(group: &Group) -> v1::ParameterGroup {
    v1::ParameterGroup {
        tensors: group.tensors.clone(),
        lr_factor: group.lr_factor,
        weight_decay: group.weight_decay,
        frozen: group.frozen,
        ascent: group.ascent,
    }
}

fn group_from_proto(group: &v1::ParameterGroup) -> Group {
    Group {
        tensors: group.tensors.clone(),
        lr_factor: group.lr_factor,
        weight_decay: group.weight_decay,
        frozen: group.frozen,
        ascent: group.ascent,
    }
}

fn base_to_proto(section: &BaseSection) -> v1::BaseOptimizerSpec {
    v1::BaseOptimizerSpec {
        kind: v1::BaseOptimizerKind::from(section.kind).into(),
        lr: section.lr,
        momentum: section.momentum,
        nesterov: section.nesterov,
        weight_decay: section.weight_decay,
        beta1: section.betas.map(|betas| betas[0]),
        beta2: section.betas.map(|betas| betas[1]),
        eps: section.eps,
        decay_biases_and_norms: section.decay_biases_and_norms,
    }
}

fn base_from_proto(spec: &v1::BaseOptimizerSpec) -> Result<BaseSection, JobError> {
    let kind: BaseName = read_enum("optimizer.base.kind", spec.kind)?.unwrap_or_default();
    let [first, second] = kind.default_betas();
    let betas = match (spec.beta1, spec.beta2) {
        (None, None) => None,
        (beta1, beta2) => Some([beta1.unwrap_or(first), beta2.unwrap_or(second)]),
    };
    Ok(BaseSection {
        kind,
        lr: spec.lr,
        momentum: spec.momentum,
        nesterov: spec.nesterov,
        weight_decay: spec.weight_decay,
        betas,
        eps: spec.eps,
        decay_biases_and_norms: spec.decay_biases_and_norms,
    })
}

fn schedule_to_proto(section: &ScheduleSection) -> v1::ScheduleSpec {
    v1::ScheduleSpec {
        kind: v1::ScheduleKind::from(section.kind).into(),
        milestones: section.milestones.clone(),
        gamma: section.gamma,
        min_lr: section.min_lr,
        warmup: section.warmup,
        warmup_start: section.warmup_start,
        unit: section.unit.map_or(v1::ScheduleUnit::Unspecified, v1::ScheduleUnit::from).into(),
        power: section.power,
        pct_start: section.pct_start,
        div_factor: section.div_factor,
        final_div_factor: section.final_div_factor,
    }
}

fn schedule_from_proto(spec: &v1::ScheduleSpec) -> Result<ScheduleSection, JobError> {
    Ok(ScheduleSection {
        kind: read_enum("schedule.kind", spec.kind)?.unwrap_or_default(),
        milestones: spec.milestones.clone(),
        gamma: spec.gamma,
        min_lr: spec.min_lr,
        warmup: spec.warmup,
        warmup_start: spec.warmup_start,
        unit: read_enum("schedule.unit", spec.unit)?,
        power: spec.power,
        pct_start: spec.pct_start,
        div_factor: spec.div_factor,
        final_div_factor: spec.final_div_factor,
    })
}

/// The name of a criterion in job files; «unspecified» for the value that says nothing.
pub fn criterion_name(criterion: v1::Criterion) -> &'static str {
    Criterion::from_number(criterion.into()).map_or("unspecified", Criterion::as_str)
}

/// The format of a partial's gradient, as its header says.
///
/// # Errors
/// If it is unknown.
pub fn gradient_format(header: &v1::PartialHeader) -> Result<ExchangeFormat, JobError> {
    Ok(read_enum("gradient_format", header.gradient_format)?.unwrap_or_default())
}

/// A protobuf enum whose zero value means "not given".
trait WireEnum: Sized {
    fn from_number(number: i32) -> Option<Self>;
}

/// Reads an enum field: `None` for 0, and an error for an unknown value.
fn read_enum<T: WireEnum>(path: &str, number: i32) -> Result<Option<T>, JobError> {
    match T::from_number(number) {
        Some(value) => Ok(Some(value)),
        None if number == 0 => Ok(None),
        None => Err(JobError::new(path, &format!("expected a known value, found the number {number}"))),
    }
}

/// Implements both directions between an enum of the job file and one of the wire, from one list of pairs.
macro_rules! wire_enum {
    ($file:ident, $wire:ident: $($name:ident = $wire_name:ident),+ $(,)?) => {
        impl From<$file> for v1::$wire {
            fn from(value: $file) -> Self {
                match value { $($file::$name => v1::$wire::$wire_name),+ }
            }
        }
        impl WireEnum for $file {
            fn from_number(number: i32) -> Option<Self> {
                match v1::$wire::try_from(number) {
                    $(Ok(v1::$wire::$wire_name) => Some($file::$name),)+
                    _ => None,
                }
            }
        }
    };
}

wire_enum!(MethodName, Method: Sgd = Sgd, Sam = Sam, Lookahead = Lookahead, LookaheadSam = LookaheadSam,
    MultistepSam = MultistepSam, Lookbehind = Lookbehind, Rwp = Rwp);
wire_enum!(AscentName, Ascent: Sam = Sam, Asam = Asam);
wire_enum!(GradientsName, Gradients: Reuse = Reuse, Reference = Reference);
wire_enum!(Minibatch, Minibatch: Same = Same, Switch = Switch);
wire_enum!(DescentGradient, DescentGradient: Last = Last, Mean = Mean);
wire_enum!(BatchStatistics, BatchStatistics: EveryPass = EveryPass, Unperturbed = Unperturbed,
    Frozen = Frozen);
wire_enum!(Perturbation, Perturbation: Global = Global, Shard = Shard);
wire_enum!(Precision, Precision: F32 = F32, Tf32 = Tf32, Bf16 = Bf16);
wire_enum!(ComputeClasses, ComputeClasses: One = One, Any = Any);
wire_enum!(ExchangeFormat, ExchangeFormat: F32 = F32, Bf16 = Bf16);
wire_enum!(OnFailure, OnCheckpointFailure: Continue = Continue, Pause = Pause, Fail = Fail);
wire_enum!(Criterion, Criterion: TestLoss = TestLoss, TestAccuracy = TestAccuracy, ValidationLoss = ValidationLoss,
    ValidationAccuracy = ValidationAccuracy);
wire_enum!(BaseName, BaseOptimizerKind: Sgd = Sgd, Adam = Adam, Adamw = Adamw, Lion = Lion);
wire_enum!(ScheduleName, ScheduleKind: Constant = Constant, Multistep = Multistep, Cosine = Cosine,
    Polynomial = Polynomial, OneCycle = OneCycle);
wire_enum!(Unit, ScheduleUnit: Epoch = Epoch, Step = Step);

#[cfg(test)]
mod tests;
