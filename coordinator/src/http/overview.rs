//! All jobs and workers, and what happened of late.

use lookbehind_common::ids::JobId;
use serde::Serialize;

use super::access::{Viewer, You};
use super::answer::Refusal;
use super::views::{EventJson, JobJson, WorkerJson};
use super::{App, PATIENCE};
use crate::state::event::{Event, JobView, Reply, UserCall, WorkerView};
use crate::state::{Caller, UnixMillis};

/// Jobs that are shown.
const JOBS: usize = 100;

/// What the page shows of the whole cluster.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    cluster: String,
    incarnation: u64,
    version: &'static str,
    now_ms: UnixMillis,
    uptime_seconds: f64,
    access: &'static str,
    private: bool,
    you: Option<You>,
    jobs: Vec<JobJson>,
    workers: Vec<WorkerJson>,
    events: Vec<EventJson>,
}

/// Who reads everything: what is shown is shown to all who may look.
fn reader() -> Caller {
    Caller::Admin("dashboard".into())
}

impl App {
    pub(super) async fn ask(&self, caller: Caller, call: UserCall) -> Result<Reply, Refusal> {
        let asked = self.shared.mailbox.ask(move |token| Event::User(token, caller, call));
        let slow = |_| {
            Refusal::new(axum::http::StatusCode::GATEWAY_TIMEOUT, "the coordinator does not answer in time")
        };
        Ok(tokio::time::timeout(PATIENCE, asked).await.map_err(slow)??)
    }

    /// A job, for somebody who may look.
    pub(super) async fn job(&self, id: &JobId) -> Result<JobView, Refusal> {
        self.steer(reader(), UserCall::Get(id.clone())).await
    }

    /// A call that is answered with a job.
    pub(super) async fn steer(&self, caller: Caller, call: UserCall) -> Result<JobView, Refusal> {
        match self.ask(caller, call).await? {
            Reply::Job(result) => result.map_err(Refusal::from),
            _ => Err(Refusal::unexpected()),
        }
    }

    pub(super) async fn workers(&self) -> Result<Vec<WorkerView>, Refusal> {
        match self.ask(reader(), UserCall::Workers).await? {
            Reply::Workers(workers) => Ok(workers),
            _ => Err(Refusal::unexpected()),
        }
    }

    /// A job as somebody sees it.
    pub(super) fn job_json(&self, view: &JobView, viewer: &Viewer) -> JobJson {
        let last = self.shared.observer.last_step(&view.record.id);
        JobJson::new(view, last.as_ref(), viewer.steers().as_ref())
    }

    /// What somebody sees of the whole cluster.
    pub(super) async fn overview(&self, viewer: &Viewer) -> Result<Overview, Refusal> {
        let jobs = match self.ask(reader(), UserCall::List(JOBS, None)).await? {
            Reply::Jobs(jobs, _) => jobs,
            Reply::Job(refused) => return Err(refused.err().map_or_else(Refusal::unexpected, Refusal::from)),
            _ => return Err(Refusal::unexpected()),
        };
        let observer = &self.shared.observer;
        let workers = self.workers().await?.into_iter().map(|view| {
            let joined = observer.joined_at(view.session);
            WorkerJson::new(view, joined)
        });
        Ok(Overview {
            cluster: self.name.cluster.clone(),
            incarnation: self.name.incarnation,
            version: lookbehind_common::BUILD_VERSION,
            now_ms: UnixMillis::now(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            access: if self.guard.is_some() { "guarded" } else { "open" },
            private: self.private,
            you: viewer.you(),
            jobs: jobs.iter().map(|view| self.job_json(view, viewer)).collect(),
            workers: workers.collect(),
            events: observer.happenings().into_iter().map(EventJson::from).collect(),
        })
    }
}
