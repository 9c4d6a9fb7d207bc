//! Fetches files from S3, Google Cloud Storage, Azure or HTTP, with the credentials of the worker's environment.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Limited};
use lookbehind_common::digest::Digest;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, Result, RetryConfig};
use url::{Position, Url};

use super::prefix::UrlPrefix;
use crate::Cancellation;
use crate::cache::{Cache, Cached};

/// Longest time to connect, and longest silence while a file arrives.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);
/// Most retries of a request, and longest time in which it is retried.
const RETRIES: usize = 4;
const RETRY_TIME: Duration = Duration::from_secs(60);
/// Most redirects that a request follows.
const REDIRECTIONS: usize = 10;

/// How often a fetch asks whether it has been cancelled.
const ASK: Duration = Duration::from_millis(50);
/// Most bytes of a server's error message; a longer one is not read.
const ERROR_MESSAGE: usize = 4096;

/// Fetches a file into the cache, unless the cache has its present version.
pub(super) fn fetch(
    url: &Url,
    allowed: &[UrlPrefix],
    cache: &Cache,
    cancellation: &Cancellation,
) -> std::result::Result<Cached, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let fetched = runtime.block_on(async {
        let store = open(url, allowed).map_err(|error| describe(&error))?;
        let path = Path::from_url_path(url.path()).map_err(|error| error.to_string())?;
        tokio::select! {
            fetched = fetch_from(store.as_ref(), &path, url, cache) => fetched,
            () = cancelled(cancellation) => Err("cancelled".to_owned()),
        }
    });
    // The resolution of a host's name cannot be ended; it ends by itself.
    runtime.shutdown_background();
    fetched
}

/// Returns once it has been cancelled.
async fn cancelled(cancellation: &Cancellation) {
    let mut ask = tokio::time::interval(ASK);
    while !cancellation.is_cancelled() {
        ask.tick().await;
    }
}

/// An error with its causes, which its own message may or may not repeat.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

async fn fetch_from(
    store: &dyn ObjectStore,
    path: &Path,
    url: &Url,
    cache: &Cache,
) -> std::result::Result<Cached, String> {
    let known = store.head(path).await.map_err(|error| describe(&error))?;
    let name = name(url, &known);
    if let Some(cached) = cache.find(&name, Some(known.size)) {
        tracing::debug!(%url, "data file is in the cache");
        return Ok(cached);
    }
    if known.size > cache.limit() {
        return Err(format!("{} bytes, the cache may take {}", known.size, cache.limit()));
    }
    tracing::info!(%url, bytes = known.size, "fetching a data file");
    let mut unfinished = cache.begin(known.size).map_err(|error| error.to_string())?;
    download(store, path, &known, &mut unfinished.file).await?;
    cache.finish(unfinished, &name).map_err(|error| error.to_string())
}

/// The file's name in the cache. It covers the version, so that another version is another file.
fn name(url: &Url, known: &ObjectMeta) -> String {
    let version = known.e_tag.clone().unwrap_or_else(|| known.last_modified.to_rfc3339());
    Digest::of(format!("{url}\n{version}\n{}", known.size).as_bytes()).to_string()
}

/// Writes exactly the known version to a file: one that has changed meanwhile, or has another length, is an error.
async fn download(
    store: &dyn ObjectStore,
    path: &Path,
    known: &ObjectMeta,
    file: &mut File,
) -> std::result::Result<(), String> {
    let options = GetOptions { if_match: known.e_tag.clone(), ..GetOptions::default() };
    let found = store.get_opts(path, options).await.map_err(|error| describe(&error))?;
    if (found.meta.size, &found.meta.e_tag) != (known.size, &known.e_tag) {
        return Err("it changed while it was fetched".to_owned());
    }
    let mut pieces = found.into_stream();
    let mut length = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| describe(&error))?;
        length += piece.len() as u64;
        if length > known.size {
            break;
        }
        file.write_all(&piece).map_err(|error| error.to_string())?;
    }
    if length == known.size {
        return Ok(());
    }
    Err(format!("{length} bytes arrived, expected {}", known.size))
}

/// Opens the store that a URL belongs to.
fn open(url: &Url, allowed: &[UrlPrefix]) -> Result<Arc<dyn ObjectStore>> {
    let connector = Connector { allowed: allowed.to_vec() };
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIME, ..RetryConfig::default() };
    let options = ClientOptions::new().with_allow_http(url.scheme() == "http");
    Ok(match url.scheme() {
        "s3" => {
            let builder = AmazonS3Builder::from_env().with_url(url.as_str());
            Arc::new(builder.with_http_connector(connector).with_retry(retry).build()?)
        }
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
            Arc::new(builder.with_http_connector(connector).with_retry(retry).build()?)
        }
        "az" => {
            let builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
            Arc::new(builder.with_http_connector(connector).with_retry(retry).build()?)
        }
        _ => {
            let builder = HttpBuilder::new().with_url(&url[..Position::BeforePath]);
            let builder = builder.with_client_options(options).with_http_connector(connector);
            Arc::new(builder.with_retry(retry).build()?)
        }
    })
}

/// Makes HTTP clients that follow no redirect to a URL that is not allowed.
#[derive(Debug)]
struct Connector {
    allowed: Vec<UrlPrefix>,
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> Result<HttpClient> {
        // It fails if a provider is installed already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let allowed = self.allowed.clone();
        let redirect = reqwest::redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTIONS {
                attempt.error("too many redirections")
            } else if allowed.iter().any(|prefix| prefix.allows_redirection(attempt.url())) {
                attempt.follow()
            } else {
                let host = attempt.url().host_str().unwrap_or_default().to_owned();
                attempt.error(format!("a redirection to {host:?}, which is not allowed"))
            }
        });
        let client = reqwest::Client::builder().redirect(redirect).connect_timeout(CONNECT);
        let client = client
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| object_store::Error::Generic { store: "HTTP", source: Box::new(error) })?;
        Ok(HttpClient::new(Bounded(HttpClient::new(client))))
    }
}

/// A client that reads no more of a server's error message than [`ERROR_MESSAGE`]: stores read it into memory.
#[derive(Debug)]
struct Bounded(HttpClient);

#[async_trait::async_trait]
impl HttpService for Bounded {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let response = self.0.execute(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let message = Limited::new(body, ERROR_MESSAGE).collect().await;
        let message = message.map_or_else(|_| Bytes::new(), |message| message.to_bytes());
        Ok(HttpResponse::from_parts(head, message.into()))
    }
}
