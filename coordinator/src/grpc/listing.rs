//! Requests for lists of jobs, over gRPC and over HTTP alike.

use lookbehind_proto::v1;

use crate::state::{JobFilter, JobQuery, JobState, NotAPlace, Place};

/// Jobs per page if the caller does not specify it.
const PAGE: usize = 100;
/// Largest number of jobs per page.
const MAX_PAGE: usize = 1000;
/// Most labels by which jobs are chosen, and most bytes of a text by which they are.
const MAX_LABELS: usize = 16;
const MAX_TEXT: usize = 256;

/// Why a list cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListError {
    /// The page is too large.
    #[error("page_size: expected 0 to {MAX_PAGE}, found {0}")]
    PageSize(u32),
    /// The token is not that of a page.
    #[error(transparent)]
    Token(#[from] NotAPlace),
    /// A state is unknown.
    #[error("states: expected states of jobs, found the number {0}")]
    State(i32),
    /// Jobs are to be chosen by too much.
    #[error("{field}: expected at most {limit} {unit}, found {found}")]
    TooLarge { field: &'static str, limit: usize, unit: &'static str, found: usize },
}

/// What a request asks for, without specifications.
pub(crate) fn query(request: &v1::ListJobsRequest) -> Result<JobQuery, ListError> {
    let count = match request.page_size as usize {
        0 => PAGE,
        size if size <= MAX_PAGE => size,
        _ => return Err(ListError::PageSize(request.page_size)),
    };
    let from = match request.page_token.as_str() {
        "" => None,
        token => Some(token.parse()?),
    };
    check("labels", "labels", request.labels.len(), MAX_LABELS)?;
    let texts = [("owner", &request.owner), ("name", &request.name)].into_iter();
    let labels = request.labels.iter().flat_map(|(key, value)| [("labels", key), ("labels", value)]);
    for (field, text) in texts.chain(labels) {
        check(field, "bytes", text.len(), MAX_TEXT)?;
    }
    let filter = JobFilter {
        states: request.states.iter().map(|number| state(*number)).collect::<Result<_, _>>()?,
        owner: request.owner.clone(),
        name: request.name.to_lowercase(),
        labels: request.labels.clone(),
    };
    Ok(JobQuery { filter, count, from, specs: false })
}

/// The token of the next page; empty if there is none.
pub(crate) fn token(next: Option<Place>) -> String {
    next.map(|place| place.to_string()).unwrap_or_default()
}

fn check(field: &'static str, unit: &'static str, found: usize, limit: usize) -> Result<(), ListError> {
    if found > limit { Err(ListError::TooLarge { field, limit, unit, found }) } else { Ok(()) }
}

fn state(number: i32) -> Result<JobState, ListError> {
    match v1::JobState::try_from(number) {
        Ok(v1::JobState::Queued) => Ok(JobState::Queued),
        Ok(v1::JobState::Preparing) => Ok(JobState::Preparing),
        Ok(v1::JobState::Running) => Ok(JobState::Running),
        Ok(v1::JobState::Paused) => Ok(JobState::Paused),
        Ok(v1::JobState::Succeeded) => Ok(JobState::Succeeded),
        Ok(v1::JobState::Failed) => Ok(JobState::Failed),
        Ok(v1::JobState::Cancelled) => Ok(JobState::Cancelled),
        Ok(v1::JobState::Unspecified) | Err(_) => Err(ListError::State(number)),
    }
}
