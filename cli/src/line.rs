//! A line of what programs read on standard output.

use serde::Serialize;

use crate::audit::Audit;
use crate::json::{JobJson, NoticeJson, StepJson, ValidJson, WorkerJson};
use crate::output::summary::Summary;

/// One line of JSON: what it is, and its fields.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Line<'a> {
    /// A job.
    Job(Box<JobJson>),
    /// A page of jobs.
    Jobs(Vec<JobJson>),
    /// The workers.
    Workers(Vec<WorkerJson>),
    /// An event of a job.
    Notice(NoticeJson),
    /// A finished outer step.
    Step(StepJson),
    /// What came of a job.
    Summary(&'a Summary),
    /// What an audit found.
    Audit(&'a Audit),
    /// Files that were made.
    Issued(Vec<String>),
    /// What a job file says.
    Valid(Box<ValidJson>),
}
