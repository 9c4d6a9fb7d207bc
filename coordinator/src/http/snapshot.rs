//! What all pages show, asked for once for all of them: however many look, the state machine is asked twice a second at
//! most.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::proto::v1;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::answer::Refusal;
use super::views::{Asked, EventJson};
use super::{App, PATIENCE};
use crate::state::event::{JobView, Reply, UserCall, WorkerView};

/// Jobs that are shown.
const JOBS: usize = 100;
/// How old what is shown may be.
const AGE: Duration = Duration::from_millis(400);

/// A moment of the cluster.
pub(super) struct Snapshot {
    taken: tokio::time::Instant,
    pub(super) jobs: Vec<Shown>,
    pub(super) workers: Vec<WorkerView>,
    pub(super) events: Vec<EventJson>,
}

/// A job with what is decoded of it.
pub(super) struct Shown {
    pub(super) view: JobView,
    pub(super) asked: Asked,
    pub(super) last: Option<v1::OuterStepMetrics>,
}

impl Shown {
    pub(super) fn new(app: &App, view: JobView) -> Self {
        let asked = Asked::of(&view.record);
        let last = app.shared.observer.last_step(&view.record.id);
        Self { view, asked, last }
    }
}

/// The newest moment; `None` before the first.
type Newest = Option<Result<Arc<Snapshot>, Refusal>>;

/// Where the newest moment is to be had.
#[derive(Clone, Default)]
pub(super) struct Snapshots {
    wanted: Arc<Notify>,
    newest: Option<watch::Receiver<Newest>>,
}

impl Snapshots {
    /// The task that takes them, whenever somebody wants one.
    pub(super) fn start(app: &App, end: CancellationToken) -> Self {
        let (sender, receiver) = watch::channel(Newest::None);
        let wanted = Arc::new(Notify::new());
        let (app, asked) = (app.clone(), Arc::clone(&wanted));
        tokio::spawn(end.run_until_cancelled_owned(async move {
            loop {
                asked.notified().await;
                sender.send_replace(Some(take(&app).await.map(Arc::new)));
                tokio::time::sleep(AGE).await;
            }
        }));
        Self { wanted, newest: Some(receiver) }
    }

    /// A moment that is not long past.
    pub(super) async fn recent(&self) -> Result<Arc<Snapshot>, Refusal> {
        let mut newest = self.newest.clone().ok_or_else(Refusal::unexpected)?;
        if let Some(Ok(snapshot)) = &*newest.borrow_and_update()
            && snapshot.taken.elapsed() < AGE
        {
            return Ok(Arc::clone(snapshot));
        }
        self.wanted.notify_one();
        match tokio::time::timeout(PATIENCE, newest.changed()).await {
            Ok(Ok(())) => newest.borrow().clone().unwrap_or_else(|| Err(Refusal::unexpected())),
            _ => Err(Refusal::slow()),
        }
    }
}

async fn take(app: &App) -> Result<Snapshot, Refusal> {
    let jobs = match app.ask(App::reader(), UserCall::List(JOBS, None)).await? {
        Reply::Jobs(jobs, _) => jobs,
        Reply::Job(refused) => return Err(refused.err().map_or_else(Refusal::unexpected, Refusal::from)),
        _ => return Err(Refusal::unexpected()),
    };
    let workers = match app.ask(App::reader(), UserCall::Workers).await? {
        Reply::Workers(workers) => workers,
        _ => return Err(Refusal::unexpected()),
    };
    Ok(Snapshot {
        taken: tokio::time::Instant::now(),
        jobs: jobs.into_iter().map(|view| Shown::new(app, view)).collect(),
        workers,
        events: app.shared.observer.happenings().into_iter().map(EventJson::from).collect(),
    })
}
