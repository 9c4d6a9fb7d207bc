//! Responses: JSON that must not be cached, and errors as text.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;

use crate::runtime::Ended;
use crate::state::StorageFailure;
use crate::state::event::CallError;

/// A request that is refused: status and reason.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    pub(super) fn slow() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "the coordinator does not answer in time")
    }

    pub(super) fn unexpected() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the coordinator gave an answer of the wrong kind")
    }
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    error: &'a str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let mut response = Json(ErrorJson { error: &self.reason }).into_response();
        *response.status_mut() = self.status;
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert("www-authenticate", HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Ended> for Refusal {
    fn from(ended: Ended) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ended.to_string())
    }
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        let status = match error {
            CallError::NotFound(_) | CallError::NoCheckpoint { .. } | CallError::NoBest(_) => {
                StatusCode::NOT_FOUND
            }
            CallError::Invalid(_) => StatusCode::BAD_REQUEST,
            CallError::RequestReused(_) | CallError::WrongState { .. } | CallError::NotEnded { .. } => {
                StatusCode::CONFLICT
            }
            CallError::Exhausted { .. } | CallError::Full { .. } => StatusCode::TOO_MANY_REQUESTS,
            CallError::Storage(StorageFailure { full: true, .. }) => StatusCode::INSUFFICIENT_STORAGE,
            CallError::Storage(_) | CallError::Stopping | CallError::Unreadable(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            CallError::NotAnnounced => StatusCode::CONFLICT,
            CallError::Unsettled(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

/// A response body in JSON. Floats that are not finite become null.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response<Body> {
        let json = HeaderValue::from_static("application/json");
        let kept = HeaderValue::from_static("no-store");
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(CONTENT_TYPE, json), (CACHE_CONTROL, kept)], bytes).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}
