//! Snapshots of the cluster that all pages share: however many pages are open, the state machine is queried at most
//! about twice a second.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::JobId;
use lookbehind_proto::v1;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::answer::Refusal;
use super::views::{EventJson, JobSummary};
use super::{PATIENCE, ask, jobs, reader};
use crate::observe::Observer;
use crate::runtime::Shared;
use crate::state::event::{JobView, Reply, UserCall, WorkerView};
use crate::state::{JobFilter, JobQuery, JobState};

/// Jobs in a snapshot, beside those that are preparing or running.
const JOBS: usize = 100;
/// Jobs in a snapshot that are preparing or running.
const ACTIVE: usize = 1000;
/// Largest age of a snapshot that is reused.
const AGE: Duration = Duration::from_millis(400);

/// The state of the cluster at one moment.
pub(super) struct Snapshot {
    taken: tokio::time::Instant,
    /// Those that are preparing or running, then the others that have not ended, then those that have.
    pub(super) jobs: Vec<JobSnapshot>,
    /// Whether there are more.
    pub(super) has_more: bool,
    pub(super) workers: Vec<WorkerView>,
    pub(super) events: Vec<EventJson>,
}

/// A job with the decoded parts of its data.
pub(super) struct JobSnapshot {
    pub(super) view: JobView,
    pub(super) summary: Option<JobSummary>,
    pub(super) last: Option<v1::OuterStepMetrics>,
}

impl JobSnapshot {
    /// `summary` is [`JobSummary::of`] the job. It is a parameter because it never changes and may be kept by the
    /// caller.
    pub(super) fn new(observer: &Observer, view: JobView, summary: Option<JobSummary>) -> Self {
        let last = observer.last_step(&view.record.id);
        Self { view, summary, last }
    }
}

/// The newest snapshot or the error of taking it; `None` before the first.
type Latest = Option<Result<Arc<Snapshot>, Refusal>>;

/// Gives access to the newest snapshot. Clones share it.
#[derive(Clone)]
pub(super) struct Snapshots {
    wanted: Arc<Notify>,
    newest: watch::Receiver<Latest>,
}

impl Snapshots {
    /// Starts the task that takes snapshots on demand.
    pub(super) fn start(shared: Shared, end: CancellationToken) -> Self {
        let (sender, newest) = watch::channel(Latest::None);
        let wanted = Arc::new(Notify::new());
        let requested = Arc::clone(&wanted);
        tokio::spawn(end.run_until_cancelled_owned(async move {
            loop {
                requested.notified().await;
                let before = sender.borrow().as_ref().and_then(|latest| latest.as_ref().ok().cloned());
                sender.send_replace(Some(take(&shared, before.as_deref()).await.map(Arc::new)));
                tokio::time::sleep(AGE).await;
            }
        }));
        Self { wanted, newest }
    }

    /// A recent snapshot. Takes a new one if the newest is too old.
    pub(super) async fn recent(&self) -> Result<Arc<Snapshot>, Refusal> {
        let mut newest = self.newest.clone();
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

/// Takes a snapshot. Specifications never change, so only those are read that the one before does not have.
async fn take(shared: &Shared, before: Option<&Snapshot>) -> Result<Snapshot, Refusal> {
    let (views, has_more) = listed(shared).await?;
    let workers = match ask(shared, reader(), UserCall::Workers).await? {
        Reply::Workers(workers) => workers,
        _ => return Err(Refusal::unexpected()),
    };
    let mut known: HashMap<&JobId, &JobSummary> = HashMap::new();
    for job in before.into_iter().flat_map(|before| &before.jobs) {
        known.extend(job.summary.as_ref().map(|summary| (&job.view.record.id, summary)));
    }
    let mut jobs = Vec::with_capacity(views.len());
    for view in views {
        let summary = match known.get(&view.record.id) {
            Some(summary) => Some((*summary).clone()),
            None => summary(shared, view.record.id.clone()).await?,
        };
        jobs.push(JobSnapshot::new(&shared.observer, view, summary));
    }
    Ok(Snapshot {
        taken: tokio::time::Instant::now(),
        jobs,
        has_more,
        workers,
        events: shared.observer.events().into_iter().map(EventJson::from).collect(),
    })
}

/// The jobs of a snapshot, and whether there are more. Queued jobs may be many: they do not hide those that run.
async fn listed(shared: &Shared) -> Result<(Vec<JobView>, bool), Refusal> {
    let states = vec![JobState::Preparing, JobState::Running];
    let filter = JobFilter { states, ..JobFilter::default() };
    let (mut views, more_active) =
        jobs::page(shared, JobQuery { filter, count: ACTIVE, ..JobQuery::default() }).await?;
    let (others, more) = jobs::page(shared, JobQuery { count: JOBS, ..JobQuery::default() }).await?;
    let active: HashSet<JobId> = views.iter().map(|view| view.record.id.clone()).collect();
    views.extend(others.into_iter().filter(|view| !active.contains(&view.record.id)));
    Ok((views, more_active.is_some() || more.is_some()))
}

/// The essentials of a job's specification; `None` if the job was deleted just now.
async fn summary(shared: &Shared, id: JobId) -> Result<Option<JobSummary>, Refusal> {
    match ask(shared, reader(), UserCall::Get(id)).await? {
        Reply::Job(result) => Ok(result.ok().and_then(|view| JobSummary::of(&view))),
        _ => Err(Refusal::unexpected()),
    }
}
