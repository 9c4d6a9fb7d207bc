//! The lines that programs read on standard output.

use lookbehind_common::evaluate::Row;
use lookbehind_common::job::JobFile;
use lookbehind_proto::json::{CheckpointJson, JobJson, NoticeJson, StepJson, WorkerJson};
use serde::Serialize;

use crate::audit::Audit;
use crate::compare::ComparedRun;
use crate::output::evaluation::{Evaluation, Predicted};
use crate::output::summary::Summary;
use crate::study::results::Row as StudyRow;

/// One line of JSON: an object with the name of the variant and its content.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Line<'a> {
    /// A job.
    Job(Box<JobJson>),
    /// A list of jobs.
    Jobs(Vec<JobJson>),
    /// Identity of a job that was deleted.
    Deleted(String),
    /// The checkpoints of a job.
    Checkpoints(Vec<CheckpointJson>),
    /// The registered workers.
    Workers(Vec<WorkerJson>),
    /// A notice of a job.
    Notice(NoticeJson),
    /// A completed outer step.
    Step(Box<StepJson>),
    /// The results of a run.
    Summary(&'a Summary),
    /// The result of an audit.
    Audit(&'a Audit),
    /// Runs side by side.
    Compared(Vec<ComparedRun>),
    /// The table of a study.
    Study(Vec<StudyRow>),
    /// What an evaluation consists of and costs.
    Evaluation(&'a Evaluation),
    /// One result of an evaluation.
    Result(&'a Row),
    /// The prediction for one sample.
    Prediction(&'a Predicted),
    /// Paths of the credential files that were created.
    Issued(Vec<String>),
    /// A valid job file.
    Valid(Box<Valid>),
}

/// Result of validating a valid job file.
#[derive(Clone, Debug, Serialize)]
pub struct Valid {
    /// Path of the job file.
    pub file: String,
    /// Its content.
    pub spec: JobFile,
    /// Gradients per complete outer step.
    pub gradients_per_outer_step: u64,
    /// Rounds of communication per complete outer step, in each of which all shards are computed once.
    pub rounds_per_outer_step: u64,
    /// What the link of a worker carries each way in a complete outer step, in multiples of the bytes of the parameters as
    /// f32.
    pub communication_per_outer_step: f64,
    /// Bytes that visits take on a worker that has all shards, in addition to a gradient, in either order; absent without
    /// visits, or where the model cannot be built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visit_bytes: Option<VisitBytes>,
    /// What was read of the data, in lines for people; empty without `--data`.
    pub data: Vec<String>,
    /// What was not checked; absent with `--data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_checked: Option<String>,
}

/// What visits take in either order in which the shards of a worker climb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct VisitBytes {
    /// One shard after the other.
    pub one_after_another: u64,
    /// All shards in step.
    pub in_step: u64,
}

#[cfg(test)]
mod tests;
