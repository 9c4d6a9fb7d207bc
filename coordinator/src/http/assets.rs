//! The files of the dashboard, embedded in the program.

use axum::Router;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// An embedded file: name, content type and content.
type Asset = (&'static str, &'static str, &'static [u8]);

macro_rules! assets {
    ($($name:literal: $kind:literal),* $(,)?) => {
        [$(($name, $kind, include_bytes!(concat!("dashboard/", $name)))),*]
    };
}

const HTML: &[u8] = include_bytes!("dashboard/index.html");
const FILES: &[Asset] = &assets! {
    "account.js": "text/javascript; charset=utf-8",
    "actions.js": "text/javascript; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "canvas.js": "text/javascript; charset=utf-8",
    "connection.js": "text/javascript; charset=utf-8",
    "curves.css": "text/css; charset=utf-8",
    "curves.js": "text/javascript; charset=utf-8",
    "degraded.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "estimate.js": "text/javascript; charset=utf-8",
    "events.js": "text/javascript; charset=utf-8",
    "favicon.svg": "image/svg+xml",
    "find.js": "text/javascript; charset=utf-8",
    "format.js": "text/javascript; charset=utf-8",
    "job.js": "text/javascript; charset=utf-8",
    "jobs.js": "text/javascript; charset=utf-8",
    "plot.js": "text/javascript; charset=utf-8",
    "series.js": "text/javascript; charset=utf-8",
    "stream.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "theme.css": "text/css; charset=utf-8",
    "timeline.js": "text/javascript; charset=utf-8",
    "timeline_draw.js": "text/javascript; charset=utf-8",
    "timeline_layout.js": "text/javascript; charset=utf-8",
    "welcome.js": "text/javascript; charset=utf-8",
    "workers.js": "text/javascript; charset=utf-8",
};

/// Content security policy: no foreign content, no inline scripts or styles, no embedding in frames.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// Routes of the page and its files.
pub(super) fn router() -> Router {
    Router::new().route("/", get(page)).route("/static/{name}", get(file))
}

async fn page() -> Response {
    (headers("text/html; charset=utf-8"), HTML).into_response()
}

async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, bytes)) => (headers(kind), *bytes).into_response(),
        None => (StatusCode::NOT_FOUND, "no such file\n").into_response(),
    }
}

fn headers(kind: &'static str) -> HeaderMap {
    let named = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        // The files change with each build. The browser must therefore ask whether its copy is still current.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        named("content-security-policy", POLICY),
        named("referrer-policy", "no-referrer"),
    ])
}
