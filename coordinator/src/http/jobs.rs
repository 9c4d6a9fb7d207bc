//! `GET /api/jobs`: lists of jobs, filtered and in pages.

use axum::extract::{Extension, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use lookbehind_proto::json::state_named;
use lookbehind_proto::v1;
use serde::Serialize;

use super::access::Viewer;
use super::answer::{Json, Refusal};
use super::snapshot::JobSnapshot;
use super::views::{JobSummary, PageJob};
use super::{App, ask, reader};
use crate::grpc::listing;
use crate::runtime::Shared;
use crate::state::event::{JobView, Reply, UserCall};
use crate::state::{JobQuery, Place};

/// A page of jobs.
#[derive(Debug, Serialize)]
struct JobPage {
    jobs: Vec<PageJob>,
    next_page_token: String,
}

/// Answers a request for a list. All viewers see all jobs.
pub(super) async fn list(State(app): State<App>, Extension(viewer): Extension<Viewer>, uri: Uri) -> Response {
    let listed = async {
        let request = request(uri.query().unwrap_or_default()).map_err(|reason| bad(&reason))?;
        let query = listing::query(&request).map_err(|error| bad(&error.to_string()))?;
        let (views, next) = page(&app.shared, JobQuery { specs: true, ..query }).await?;
        let caller = viewer.steers();
        let show = |view: JobView| {
            let summary = JobSummary::of(&view);
            PageJob::new(&JobSnapshot::new(&app.shared.observer, view, summary), caller.as_ref())
        };
        let jobs = views.into_iter().map(show).collect();
        Ok::<_, Refusal>(Json(JobPage { jobs, next_page_token: listing::token(next) }))
    };
    listed.await.into_response()
}

/// A page of a list, as the state machine gives it.
pub(super) async fn page(shared: &Shared, query: JobQuery) -> Result<(Vec<JobView>, Option<Place>), Refusal> {
    match ask(shared, reader(), UserCall::List(query)).await? {
        Reply::Jobs(views, next) => Ok((views, next)),
        Reply::Job(refused) => Err(refused.err().map_or_else(Refusal::unexpected, Refusal::from)),
        _ => Err(Refusal::unexpected()),
    }
}

fn bad(reason: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, reason)
}

/// The request that a query string stands for: its keys are `state` and `label`, each any number of times, `owner`,
/// `name`, `page_size` and `page_token`.
fn request(query: &str) -> Result<v1::ListJobsRequest, String> {
    let mut request = v1::ListJobsRequest::default();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "state" => {
                let state = state_named(&value)
                    .ok_or_else(|| format!("state: expected the state of a job, found {value:?}"))?;
                request.states.push(state.into());
            }
            "label" => {
                let (key, value) = value.split_once('=').unwrap_or((&value, ""));
                request.labels.insert(key.to_owned(), value.to_owned());
            }
            "owner" => request.owner = value.into_owned(),
            "name" => request.name = value.into_owned(),
            "page_token" => request.page_token = value.into_owned(),
            "page_size" => {
                let number = value.parse();
                request.page_size =
                    number.map_err(|_| format!("page_size: expected a number, found {value:?}"))?;
            }
            _ => {
                return Err(format!("{key:?}: expected state, label, owner, name, page_size or page_token"));
            }
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_string_says_which_jobs_are_listed() {
        let query =
            "state=running&state=failed&owner=alice&name=lr%3D0.1+k&label=study=a%2Bb&label=seed&page_size=7";
        let request = request(query).unwrap();
        let states = [v1::JobState::Running, v1::JobState::Failed].map(i32::from);
        assert_eq!(request.states, states);
        assert_eq!((request.owner.as_str(), request.name.as_str()), ("alice", "lr=0.1 k"));
        let labels = [("study", "a+b"), ("seed", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(request.labels, labels.into());
        assert_eq!((request.page_size, request.page_token.as_str()), (7, ""));
    }

    #[test]
    fn a_key_or_value_that_is_not_known_is_refused_by_its_name() {
        for (query, said) in [
            ("sate=running", "\"sate\": expected state, label"),
            ("state=runing", "state: expected the state of a job, found \"runing\""),
            ("page_size=many", "page_size: expected a number, found \"many\""),
        ] {
            let reason = request(query).expect_err(query);
            assert!(reason.starts_with(said), "{reason}");
        }
    }
}
