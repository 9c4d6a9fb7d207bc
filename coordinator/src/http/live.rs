//! Server-Sent Events that keep a page up to date.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use lookbehind_common::ids::JobId;
use lookbehind_proto::json::StepJson;
use lookbehind_proto::v1;
use lookbehind_proto::v1::watch_job_response::Event as Watched;
use serde::Serialize;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::App;
use super::access::Viewer;
use super::answer::Refusal;
use super::downsample::Downsampled;
use super::out::{Disconnected, Out, json};
use super::places::Holder;
use super::views::{JobSummary, PageNotice, TimelineJson};
use crate::grpc::watch;
use crate::runtime::Subscription;
use crate::state::event::JobView;

/// Shortest interval between two events of the same kind.
const PACE: Duration = Duration::from_millis(500);
/// Longest interval between two events.
const SILENCE: Duration = Duration::from_secs(5);
/// Most notices of a job in one event. Older ones are dropped, and of routine ones all but the newest.
const NOTICES: usize = 200;

/// A streaming response whose events come from a task. The task ends when it is done or the client disconnects. The HTTP
/// server ends responses that their client does not read.
fn stream<F: Future<Output = Result<(), Disconnected>> + Send>(
    app: &App,
    holder: &Holder,
    feed: impl FnOnce(Out) -> F + Send + 'static,
) -> Result<Response, Refusal> {
    let full = || {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "as many pages are open as there may be; try again later",
        )
    };
    let place = app.streams.take(holder).ok_or_else(full)?;
    let (out, events) = Out::new();
    let end = app.end.clone();
    tokio::spawn(async move {
        let _place = place;
        let closed = out.closed();
        tokio::select! {
            _ = feed(out) => {}
            () = closed => {}
            () = end.cancelled() => {}
        }
    });
    let body = Body::from_stream(ReceiverStream::new(events).map(Ok::<_, Infallible>));
    Ok(([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// The state of the whole cluster: after each change, and every few seconds.
pub(super) fn overview(app: App, viewer: Viewer, holder: &Holder) -> Result<Response, Refusal> {
    let followed = app.clone();
    stream(&followed, holder, move |out| async move {
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
pub(super) async fn job(
    app: App,
    viewer: Viewer,
    holder: Holder,
    id: JobId,
    points: usize,
) -> Result<Response, Refusal> {
    let subscription = app.shared.feeds.subscribe(&id);
    let view = app.job(&id).await?;
    let page = Page { app, viewer, holder, points };
    stream(&page.app.clone(), &page.holder.clone(), move |out| async move {
        Box::pin(follow(page, view, subscription, out)).await
    })
}

/// Events of a job that have been read but not yet sent.
struct News {
    steps: Downsampled,
    notices: VecDeque<PageNotice>,
}

#[derive(Serialize)]
struct History {
    steps: Vec<StepJson>,
    notices: VecDeque<PageNotice>,
}

impl News {
    fn new(points: usize) -> Self {
        Self { steps: Downsampled::new(points), notices: VecDeque::new() }
    }

    fn take(&mut self, event: Option<Watched>) {
        match event {
            Some(Watched::Step(step)) => self.steps.push(StepJson::from(&step)),
            Some(Watched::Notice(notice)) => self.take_notice(PageNotice::from(&notice)),
            None => {}
        }
    }
}

impl News {
    fn take_notice(&mut self, notice: PageNotice) {
        if notice.routine {
            self.notices.retain(|earlier| !earlier.routine);
        }
        if self.notices.len() == NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<v1::WatchJobResponse, Status>> + Send>>;

/// The page that shows a job.
struct Page {
    app: App,
    viewer: Viewer,
    holder: Holder,
    points: usize,
}

async fn follow(page: Page, view: JobView, subscription: Subscription, out: Out) -> Result<(), Disconnected> {
    let Page { app, viewer, holder, points } = page;
    let id = view.record.id.clone();
    let summary = JobSummary::of(&view);
    out.tell("job", &app.job_json(view.clone(), summary.as_ref(), &viewer)).await?;
    let mut events: Events =
        Box::pin(watch::from_the_beginning(app.shared.clone(), subscription, &view.record));
    let mut over = {
        // First, so that a client who does not read keeps nobody from a history.
        let room = out.room().await?;
        // Limits how many histories are in memory: the place is free when the last byte has left.
        let place = app.histories.wait(&holder).await;
        let (history, over) = history(&mut events, &view, points).await;
        out.send(room.with(place), "history", &history).await?;
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
