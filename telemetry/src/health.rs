//! Whether a program lives (`/livez`) and whether it can be used (`/readyz`).

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Whether a program can be used. Closures that return the same are this.
pub trait Readiness: Send + Sync + 'static {
    /// Says why it cannot be used now; must not wait for anything.
    ///
    /// # Errors
    /// The reason, in words.
    fn ready(&self) -> Result<(), String>;
}

impl<F: Fn() -> Result<(), String> + Send + Sync + 'static> Readiness for F {
    fn ready(&self) -> Result<(), String> {
        self()
    }
}

/// `/livez`: 200 as long as the process answers. `/readyz`: 200, or 503 with the reason.
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

/// One line that nobody may keep for later.
fn text(status: StatusCode, line: &str) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], format!("{line}\n")).into_response()
}

#[cfg(test)]
mod tests;
