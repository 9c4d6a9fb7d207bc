//! All jobs and workers, and what happened of late.

use lookbehind_common::ids::JobId;
use serde::Serialize;

use super::access::{Viewer, You};
use super::answer::Refusal;
use super::snapshot::Shown;
use super::views::{EventJson, JobJson, WorkerJson};
use super::{App, PATIENCE};
use crate::observe::unix_now;
use crate::state::event::{Event, JobView, Reply, UserCall};
use crate::state::{Caller, UnixMillis};

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

impl App {
    /// Who reads everything: what is shown is shown to all who may look.
    pub(super) fn reader() -> Caller {
        Caller::Admin("dashboard".into())
    }

    pub(super) async fn ask(&self, caller: Caller, call: UserCall) -> Result<Reply, Refusal> {
        let asked = self.shared.mailbox.ask(move |token| Event::User(token, caller, call));
        Ok(tokio::time::timeout(PATIENCE, asked).await.map_err(|_| Refusal::slow())??)
    }

    /// A job, for somebody who may look.
    pub(super) async fn job(&self, id: &JobId) -> Result<JobView, Refusal> {
        self.steer(Self::reader(), UserCall::Get(id.clone())).await
    }

    /// A call that is answered with a job.
    pub(super) async fn steer(&self, caller: Caller, call: UserCall) -> Result<JobView, Refusal> {
        match self.ask(caller, call).await? {
            Reply::Job(result) => result.map_err(Refusal::from),
            _ => Err(Refusal::unexpected()),
        }
    }

    /// A job as somebody sees it.
    pub(super) fn job_json(&self, view: &JobView, viewer: &Viewer) -> JobJson {
        JobJson::new(&Shown::new(self, view.clone()), viewer.steers().as_ref())
    }

    /// What somebody sees of the whole cluster.
    pub(super) async fn overview(&self, viewer: &Viewer) -> Result<Overview, Refusal> {
        let snapshot = self.snapshots.recent().await?;
        let caller = viewer.steers();
        let joined = |session| self.shared.observer.joined_at(session);
        Ok(Overview {
            cluster: self.name.cluster.clone(),
            incarnation: self.name.incarnation,
            version: lookbehind_common::BUILD_VERSION,
            now_ms: unix_now(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            access: if self.guard.is_some() { "guarded" } else { "open" },
            private: self.private,
            you: viewer.you(),
            jobs: snapshot.jobs.iter().map(|shown| JobJson::new(shown, caller.as_ref())).collect(),
            workers: snapshot
                .workers
                .iter()
                .map(|view| WorkerJson::new(view, joined(view.session)))
                .collect(),
            events: snapshot.events.clone(),
        })
    }
}
