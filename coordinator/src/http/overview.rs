//! The overview: all jobs and workers, and recent cluster events.

use lookbehind_common::ids::JobId;
use serde::Serialize;

use super::access::{Viewer, You};
use super::answer::Refusal;
use super::snapshot::JobSnapshot;
use super::views::{DegradedJson, EventJson, JobSummary, PageJob, PageWorker, time};
use super::{App, ask, reader};
use crate::observe::unix_now;
use crate::state::Caller;
use crate::state::event::{JobView, Reply, UserCall};

/// The state of the whole cluster as the page displays it.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    cluster: String,
    incarnation: u64,
    version: &'static str,
    now: String,
    uptime_seconds: f64,
    access: &'static str,
    private: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    you: Option<You>,
    jobs: Vec<PageJob>,
    /// Whether there are more jobs than these.
    more_jobs: bool,
    workers: Vec<PageWorker>,
    events: Vec<EventJson>,
    degraded: Vec<DegradedJson>,
}

impl App {
    /// A job, read on behalf of any viewer who may read.
    pub(super) async fn job(&self, id: &JobId) -> Result<JobView, Refusal> {
        self.steer(reader(), UserCall::Get(id.clone())).await
    }

    /// Makes a call whose reply is a job.
    pub(super) async fn steer(&self, caller: Caller, call: UserCall) -> Result<JobView, Refusal> {
        match ask(&self.shared, caller, call).await? {
            Reply::Job(result) => result.map_err(Refusal::from),
            _ => Err(Refusal::unexpected()),
        }
    }

    /// A job as the viewer may see it. `summary` describes the job's specification.
    pub(super) fn job_json(&self, view: JobView, summary: Option<&JobSummary>, viewer: &Viewer) -> PageJob {
        let snapshot = JobSnapshot::new(&self.shared.observer, view, summary.cloned());
        PageJob::new(&snapshot, viewer.steers().as_ref())
    }

    /// The whole cluster as the viewer may see it.
    pub(super) async fn overview(&self, viewer: &Viewer) -> Result<Overview, Refusal> {
        let snapshot = self.snapshots.recent().await?;
        let caller = viewer.steers();
        let joined = |session| self.shared.observer.joined_at(session);
        Ok(Overview {
            cluster: self.name.cluster.clone(),
            incarnation: self.name.incarnation,
            version: lookbehind_common::BUILD_VERSION,
            now: time(unix_now()),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            access: if self.guard.is_some() { "guarded" } else { "open" },
            private: self.private,
            you: viewer.you(),
            jobs: snapshot.jobs.iter().map(|snapshot| PageJob::new(snapshot, caller.as_ref())).collect(),
            more_jobs: snapshot.has_more,
            workers: snapshot
                .workers
                .iter()
                .map(|view| PageWorker::new(view, joined(view.session)))
                .collect(),
            events: snapshot.events.clone(),
            degraded: self.shared.observer.degraded().into_iter().map(DegradedJson::from).collect(),
        })
    }
}
