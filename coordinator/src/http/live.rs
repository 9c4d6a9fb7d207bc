//! Server-Sent Events that keep a page up to date.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use lookbehind_common::ids::JobId;
use lookbehind_proto::json::{NoticeJson, StepJson};
use lookbehind_proto::v1;
use lookbehind_proto::v1::watch_job_response::Event as Watched;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::App;
use super::access::Viewer;
use super::answer::Refusal;
use super::downsample::Downsampled;
use super::views::{JobSummary, TimelineJson};
use crate::grpc::watch;
use crate::runtime::Subscription;
use crate::state::event::JobView;

/// Shortest interval between two events of the same kind.
const PACE: Duration = Duration::from_millis(500);
/// Longest interval between two events.
const SILENCE: Duration = Duration::from_secs(5);
/// Most notices of a job in one event. Older ones are dropped.
const NOTICES: usize = 200;
/// How long a client may read nothing before its stream ends.
const STALLED: Duration = Duration::from_secs(30);
/// Events that may wait for a slow client. If the queue is full, new events are gathered and sent later.
const WAITING: usize = 4;

/// The sending end of an event stream. Sending fails if the client has disconnected.
struct Out(mpsc::Sender<Bytes>);

/// The stream has ended: the client disconnected, or an event could not be serialized.
struct Disconnected;

/// The data of an event. If it cannot be serialized the stream ends, and the page opens another.
fn json(value: &impl Serialize) -> Result<String, Disconnected> {
    serde_json::to_string(value).map_err(|error| {
        tracing::error!(%error, "internal error: an event for the dashboard cannot be written");
        Disconnected
    })
}

impl Out {
    async fn tell(&self, name: &str, value: &impl Serialize) -> Result<(), Disconnected> {
        let data = json(value)?;
        self.send(format!("event: {name}\ndata: {data}\n\n")).await
    }

    /// Sends a comment, which is not an event: it keeps the connection alive and detects a client that has gone.
    async fn keep_alive(&self) -> Result<(), Disconnected> {
        self.send(":\n\n".into()).await
    }

    async fn send(&self, text: String) -> Result<(), Disconnected> {
        let sent = tokio::time::timeout(STALLED, self.0.send(Bytes::from(text))).await;
        sent.map_err(|_| Disconnected)?.map_err(|_| Disconnected)
    }
}

/// A streaming response whose events come from a task. The task ends when it is done or the client disconnects.
fn stream<F: Future<Output = Result<(), Disconnected>> + Send>(
    app: &App,
    feed: impl FnOnce(Out) -> F + Send + 'static,
) -> Result<Response, Refusal> {
    let full = |_| {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "as many pages are open as there may be; try again later",
        )
    };
    let place = std::sync::Arc::clone(&app.streams).try_acquire_owned().map_err(full)?;
    let (sender, events) = mpsc::channel(WAITING);
    let end = app.end.clone();
    tokio::spawn(async move {
        let _place = place;
        let closed = sender.clone();
        tokio::select! {
            _ = feed(Out(sender)) => {}
            () = closed.closed() => {}
            () = end.cancelled() => {}
        }
    });
    let body = Body::from_stream(ReceiverStream::new(events).map(Ok::<_, Infallible>));
    Ok(([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// The state of the whole cluster: after each change, and every few seconds.
pub(super) fn overview(app: App, viewer: Viewer) -> Result<Response, Refusal> {
    let followed = app.clone();
    stream(&followed, move |out| async move {
        let mut changes = app.shared.observer.changes();
        loop {
            // Before the overview is taken, so that a change in the meantime leads to another event.
            changes.mark_unchanged();
            match app.overview(&viewer).await {
                Ok(overview) => out.tell("overview", &overview).await?,
                Err(refusal) => out.tell("error", &refusal.reason).await?,
            }
            tokio::time::sleep(PACE).await;
            let _ = tokio::time::timeout(SILENCE - PACE, changes.changed()).await;
        }
    })
}

/// One job: its history, then new events.
pub(super) async fn job(app: App, viewer: Viewer, id: JobId, points: usize) -> Result<Response, Refusal> {
    let subscription = app.shared.feeds.subscribe(&id);
    let view = app.job(&id).await?;
    let followed = app.clone();
    stream(&followed, move |out| async move {
        Box::pin(follow(app, viewer, view, subscription, points, out)).await
    })
}

/// Events of a job that have been read but not yet sent.
struct News {
    steps: Downsampled,
    notices: VecDeque<NoticeJson>,
}

#[derive(Serialize)]
struct History {
    steps: Vec<StepJson>,
    notices: VecDeque<NoticeJson>,
}

impl News {
    fn new(points: usize) -> Self {
        Self { steps: Downsampled::new(points), notices: VecDeque::new() }
    }

    fn take(&mut self, event: Option<Watched>) {
        match event {
            Some(Watched::Step(step)) => self.steps.push(StepJson::from(&step)),
            Some(Watched::Notice(notice)) => {
                if self.notices.len() == NOTICES {
                    self.notices.pop_front();
                }
                self.notices.push_back(NoticeJson::from(&notice));
            }
            None => {}
        }
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<v1::WatchJobResponse, Status>> + Send>>;

async fn follow(
    app: App,
    viewer: Viewer,
    view: JobView,
    subscription: Subscription,
    points: usize,
    out: Out,
) -> Result<(), Disconnected> {
    let id = view.record.id.clone();
    let summary = JobSummary::of(&view);
    out.tell("job", &app.job_json(view.clone(), summary.as_ref(), &viewer)).await?;
    let mut events: Events =
        Box::pin(watch::from_the_beginning(app.shared.clone(), subscription, &view.record));
    let mut over = {
        // Cannot fail: the semaphore is never closed. The permit limits how many histories are read at the same time.
        let _place = app.histories.acquire().await;
        let (history, over) = history(&mut events, &view, points).await;
        out.tell("history", &history).await?;
        over
    };
    let (mut sent, mut shown) = (String::new(), 0);
    loop {
        let (news, ended) = if over { (News::new(points), true) } else { gather(&mut events, points).await };
        over |= ended;
        if !news.steps.is_empty() {
            out.tell("steps", &news.steps.into_steps()).await?;
        }
        if !news.notices.is_empty() {
            out.tell("notices", &news.notices).await?;
        }
        let timelines = app.shared.observer.timelines(&id);
        let newest = timelines.last().map_or(0, |timeline| timeline.outer_step);
        if newest != shown {
            shown = newest;
            let timelines: Vec<TimelineJson> =
                timelines.iter().map(|one| TimelineJson::from(&**one)).collect();
            out.tell("timeline", &timelines).await?;
        }
        let Ok(view) = app.job(&id).await else { return Ok(()) };
        let job = app.job_json(view, summary.as_ref(), &viewer);
        let newest = json(&job)?;
        if newest == sent {
            out.keep_alive().await?;
        } else {
            out.tell("job", &job).await?;
            sent = newest;
        }
        if over {
            // Nothing more can happen. The page knows from the job's state that it need not reconnect.
            return Ok(());
        }
    }
}

/// The stored events of a job, downsampled, and whether no more can follow.
async fn history(events: &mut Events, view: &JobView, points: usize) -> (History, bool) {
    let mut news = News::new(points);
    let mut over = false;
    loop {
        let complete = !news.steps.is_empty() && news.steps.newest() >= view.outer_step;
        if complete && !view.record.state.is_terminal() {
            break;
        }
        // If the next event takes longer than this, it is not stored yet.
        match tokio::time::timeout(PACE, events.next()).await {
            Ok(Some(Ok(event))) => news.take(event.event),
            Ok(_) => {
                over = true;
                break;
            }
            Err(_) => break,
        }
    }
    (History { steps: news.steps.into_steps(), notices: news.notices }, over)
}

/// New events of a job within [`PACE`], and whether no more will follow.
async fn gather(events: &mut Events, points: usize) -> (News, bool) {
    let mut news = News::new(points);
    let moment = tokio::time::sleep(PACE);
    tokio::pin!(moment);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => news.take(event.event),
                _ => {
                    moment.await;
                    return (news, true);
                }
            },
            () = &mut moment => return (news, false),
        }
    }
}
