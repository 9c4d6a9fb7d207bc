//! Which checkpoints are written and kept, and when a job ends, on the wire.

use super::*;

pub(super) fn checkpoint_to_proto(section: &CheckpointSection) -> v1::CheckpointSpec {
    v1::CheckpointSpec {
        every_epochs: section.every_epochs,
        every_steps: section.every_steps,
        every_minutes: section.every_minutes,
        keep: section.keep,
        on_failure: section
            .on_failure
            .map_or(v1::OnCheckpointFailure::Unspecified, v1::OnCheckpointFailure::from)
            .into(),
        keep_best: section.keep_best.map_or(v1::Criterion::Unspecified, v1::Criterion::from).into(),
    }
}

pub(super) fn checkpoint_from_proto(spec: &v1::CheckpointSpec) -> Result<CheckpointSection, JobError> {
    Ok(CheckpointSection {
        every_epochs: spec.every_epochs,
        every_steps: spec.every_steps,
        every_minutes: spec.every_minutes,
        keep: spec.keep,
        on_failure: read_enum("checkpoint.on_failure", spec.on_failure)?,
        keep_best: read_enum("checkpoint.keep_best", spec.keep_best)?,
    })
}

pub(super) fn early_stopping_to_proto(section: &EarlyStoppingSection) -> v1::EarlyStoppingSpec {
    v1::EarlyStoppingSpec {
        metric: section.metric.map_or(v1::Criterion::Unspecified, v1::Criterion::from).into(),
        patience: section.patience,
        min_delta: section.min_delta,
    }
}

pub(super) fn early_stopping_from_proto(
    spec: &v1::EarlyStoppingSpec,
) -> Result<EarlyStoppingSection, JobError> {
    Ok(EarlyStoppingSection {
        metric: read_enum("early_stopping.metric", spec.metric)?,
        patience: spec.patience,
        min_delta: spec.min_delta,
    })
}

pub(super) fn initial_job_to_proto(from: &InitialJob) -> v1::InitialJob {
    let InitialJob { job, checkpoint, continues } = from;
    let (checkpoint, best) = match checkpoint {
        None => (None, false),
        Some(WhichCheckpoint::OuterStep(step)) => (Some(*step), false),
        Some(WhichCheckpoint::Named(NamedCheckpoint::Best)) => (None, true),
    };
    v1::InitialJob { job: job.clone(), checkpoint, continues: *continues, best }
}

pub(super) fn init_from_proto(model: &v1::ModelSpec) -> Result<Option<Init>, JobError> {
    match (&model.init, &model.init_job) {
        (None, None) => Ok(None),
        (Some(digest), None) => Ok(Some(Init::File(digest.clone()))),
        (None, Some(from)) => Ok(Some(Init::Job(InitialJob {
            job: from.job.clone(),
            checkpoint: match (from.checkpoint, from.best) {
                (None, false) => None,
                (Some(step), false) => Some(WhichCheckpoint::OuterStep(step)),
                (None, true) => Some(WhichCheckpoint::BEST),
                (Some(_), true) => {
                    return Err(JobError::new("model.init", "give either checkpoint or best, not both"));
                }
            },
            continues: from.continues,
        }))),
        (Some(_), Some(_)) => Err(JobError::new("model.init", "give either init or init_job, not both")),
    }
}
