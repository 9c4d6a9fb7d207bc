//! The lines that programs read on standard output.

use serde::Serialize;

use crate::audit::Audit;
use crate::json::{JobJson, NoticeJson, StepJson, ValidJson, WorkerJson};
use crate::output::summary::Summary;

/// One line of JSON: an object with the name of the variant and its content.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Line<'a> {
    /// A job.
    Job(Box<JobJson>),
    /// A list of jobs.
    Jobs(Vec<JobJson>),
    /// The registered workers.
    Workers(Vec<WorkerJson>),
    /// A notice of a job.
    Notice(NoticeJson),
    /// A completed outer step.
    Step(StepJson),
    /// The results of a run.
    Summary(&'a Summary),
    /// The result of an audit.
    Audit(&'a Audit),
    /// Paths of the credential files that were created.
    Issued(Vec<String>),
    /// A valid job file.
    Valid(Box<ValidJson>),
}
