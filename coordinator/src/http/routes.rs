//! The JSON interface of the page.

use axum::Router;
use axum::extract::{Extension, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use lookbehind_common::ids::JobId;
use serde::Serialize;

use super::access::Viewer;
use super::answer::{Json, Refusal};
use super::places::Holder;
use super::views::{JobSummary, PageJob};
use super::{App, ask, jobs, live};
use crate::state::Caller;
use crate::state::event::{Reply, UserCall};

/// Outer steps of a job's history that are sent if the request does not specify a number.
const POINTS: usize = 1000;
/// Largest number that a request may specify.
const MAX_POINTS: usize = 10_000;

pub(super) fn router(app: App) -> Router {
    Router::new()
        .route("/api/me", get(me))
        .route("/api/overview", get(overview))
        .route("/api/live", get(live_overview))
        .route("/api/jobs", get(jobs::list))
        .route("/api/jobs/{id}/live", get(live_job))
        .route("/api/jobs/{id}", delete(delete_job))
        .route("/api/jobs/{id}/{action}", post(steer))
        .with_state(app)
}

async fn me(Extension(viewer): Extension<Viewer>) -> Response {
    match viewer.you() {
        Some(you) => Json(you).into_response(),
        None => Refusal::new(StatusCode::UNAUTHORIZED, "you have not signed in").into_response(),
    }
}

async fn overview(State(app): State<App>, Extension(viewer): Extension<Viewer>) -> Response {
    match app.overview(&viewer).await {
        Ok(overview) => Json(overview).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn live_overview(
    State(app): State<App>,
    Extension(viewer): Extension<Viewer>,
    Extension(holder): Extension<Holder>,
) -> Response {
    live::overview(app, viewer, &holder).unwrap_or_else(IntoResponse::into_response)
}

async fn live_job(
    State(app): State<App>,
    Extension(viewer): Extension<Viewer>,
    Extension(holder): Extension<Holder>,
    Path(id): Path<String>,
    uri: Uri,
) -> Response {
    let followed = async { live::job(app, viewer, holder, job_id(&id)?, points(&uri)?).await };
    followed.await.unwrap_or_else(IntoResponse::into_response)
}

fn job_id(text: &str) -> Result<JobId, Refusal> {
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, format!("job {text:?}: not found"));
    JobId::parse(text).ok_or_else(unknown)
}

/// The query parameter `points=N`.
fn points(uri: &Uri) -> Result<usize, Refusal> {
    let given = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("points="));
    let Some(given) = given else { return Ok(POINTS) };
    let sound = given.parse().ok().filter(|points| (2..=MAX_POINTS).contains(points));
    let refuse = || {
        Refusal::new(StatusCode::BAD_REQUEST, format!("points: expected 2 to {MAX_POINTS}, found {given:?}"))
    };
    sound.ok_or_else(refuse)
}

#[derive(Serialize)]
struct Steered {
    job: PageJob,
}

async fn steer(
    State(app): State<App>,
    Extension(viewer): Extension<Viewer>,
    Path((id, action)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let steered = async {
        let id = job_id(&id)?;
        // Requests that a form on another page could send are refused. JSON is safe, because a browser asks for
        // permission before it sends JSON to another origin.
        let kinds: Vec<_> = headers.get_all(CONTENT_TYPE).iter().collect();
        if kinds != ["application/json"] {
            let reason = "content-type: expected application/json";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
        }
        let caller = steering(&viewer)?;
        let call = match action.as_str() {
            "cancel" => UserCall::Cancel(id),
            "pause" => UserCall::Pause(id),
            "resume" => UserCall::Resume { id, accept_class: false },
            "retry" => app.shared.retry(id).await?,
            other => {
                let reason = format!("{other:?}: expected cancel, pause, resume or retry");
                return Err(Refusal::new(StatusCode::NOT_FOUND, reason));
            }
        };
        let view = app.steer(caller, call).await?;
        let summary = JobSummary::of(&view);
        Ok(Json(Steered { job: app.job_json(view, summary.as_ref(), &viewer) }).into_response())
    };
    steered.await.unwrap_or_else(IntoResponse::into_response)
}

/// The caller on whose behalf a viewer changes jobs, if they may.
fn steering(viewer: &Viewer) -> Result<Caller, Refusal> {
    viewer.steers().ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "sign in to steer jobs"))
}

/// Deletes a job that has ended. A page of another origin cannot send this: a browser asks for permission before it
/// sends DELETE to another origin.
async fn delete_job(
    State(app): State<App>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
) -> Response {
    let deleted = async {
        let (id, caller) = (job_id(&id)?, steering(&viewer)?);
        match ask(&app.shared, caller, UserCall::Delete(id)).await? {
            Reply::Done(result) => result.map_err(Refusal::from),
            _ => Err(Refusal::unexpected()),
        }
    };
    match deleted.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}
