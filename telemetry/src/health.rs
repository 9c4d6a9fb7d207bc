//! Liveness (`/livez`) and readiness (`/readyz`) of a program.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Whether a program is ready for use. Implemented for closures that return the same type.
pub trait Readiness: Send + Sync + 'static {
    /// Checks readiness. Must not block.
    ///
    /// # Errors
    /// The reason why the program is not ready.
    fn ready(&self) -> Result<(), String>;
}

impl<F: Fn() -> Result<(), String> + Send + Sync + 'static> Readiness for F {
    fn ready(&self) -> Result<(), String> {
        self()
    }
}

/// Serves `/livez`, which answers 200 as long as the process responds, and `/readyz`, which answers 200, or 503 with
/// the reason.
pub fn router(readiness: impl Readiness) -> Router {
    let readiness: Arc<dyn Readiness> = Arc::new(readiness);
    Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(readiness)
}

async fn live() -> Response {
    text(StatusCode::OK, "live")
}

async fn ready(State(readiness): State<Arc<dyn Readiness>>) -> Response {
    match readiness.ready() {
        Ok(()) => text(StatusCode::OK, "ready"),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

/// A response of one line that must not be cached.
fn text(status: StatusCode, line: &str) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], format!("{line}\n")).into_response()
}

#[cfg(test)]
mod tests;
