//! Dashboard, metrics and probes: who may read, who may change something, and from where.

use lookbehind_identity::{Access, Folder};
use lookbehind_proto::v1;
use lookbehind_tests::client::within;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::guarded::{Credentials, client};
use lookbehind_tests::jobs;
use lookbehind_worker::registry::Registry;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use reqwest::{ClientBuilder, RequestBuilder, StatusCode};
use serde_json::Value;

/// A browser that trusts the cluster's authority.
#[derive(Clone)]
pub(super) struct Browser {
    client: reqwest::Client,
    origin: String,
}

impl Browser {
    pub(super) fn at(cluster: &Cluster, credentials: Option<&Credentials>) -> Self {
        Self::with(cluster, credentials, |builder| builder)
    }

    /// A browser with other settings of its connections.
    pub(super) fn with(
        cluster: &Cluster,
        credentials: Option<&Credentials>,
        change: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Self {
        let address = cluster.http_addr().expect("pages");
        let Some(credentials) = credentials else {
            // The client requires a provider although it does not use it. An error means that another test has
            // installed it.
            let _ = rustls::crypto::ring::default_provider().install_default();
            return Self { client: reqwest::Client::new(), origin: format!("http://{address}") };
        };
        let anonymous = Folder::new(credentials.only("alice", &["ca.pem"], "anonymous"));
        let config = Access::new("https://coordinator", Some(anonymous)).unwrap().client_config().unwrap();
        let builder = reqwest::Client::builder().tls_backend_preconfigured((*config).clone());
        Self { client: change(builder).build().unwrap(), origin: format!("https://{address}") }
    }

    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.origin))
    }

    fn delete(&self, path: &str) -> RequestBuilder {
        self.client.delete(format!("{}{path}", self.origin))
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.origin)).header(CONTENT_TYPE, "application/json").body("{}")
    }
}

async fn answered(request: RequestBuilder) -> (StatusCode, Value) {
    let response = within("an answer", request.send()).await.unwrap();
    let status = response.status();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
}

pub(super) fn secret(credentials: &Credentials, name: &str) -> String {
    Folder::new(credentials.folder(name)).token().unwrap().unwrap().secret().to_owned()
}

pub(super) async fn guarded(private: bool) -> (Cluster, Credentials) {
    let credentials = Credentials::new();
    let coordinator = credentials.folder("coordinator");
    let cluster = Cluster::guarded(&credentials.folder("admin"), |config| {
        config.credentials = Some(coordinator);
        config.http = Some("127.0.0.1:0".parse().unwrap());
        config.private = private;
    })
    .await;
    (cluster, credentials)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_may_be_taken_for_a_page_that_it_is_not() {
    let (cluster, credentials) = guarded(false).await;
    let browser = Browser::at(&cluster, Some(&credentials));
    for path in ["/", "/static/app.js", "/api/overview", "/api/live", "/api/nothing", "/metrics", "/livez"] {
        let answer = browser.get(path).send().await.unwrap();
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_may_look_and_only_the_owner_may_steer() {
    let (cluster, credentials) = guarded(false).await;
    let browser = Browser::at(&cluster, Some(&credentials));
    let alice = client(cluster.url(), &credentials.folder("alice"));
    let job = alice.submit(&jobs::small()).await;
    let (status, overview) = answered(browser.get("/api/overview")).await;
    assert_eq!(
        (status, &overview["access"], &overview["you"]),
        (StatusCode::OK, &"guarded".into(), &Value::Null)
    );
    assert_eq!(
        (&overview["jobs"][0]["id"], &overview["jobs"][0]["allowed"]),
        (&job.as_str().into(), &Value::Array(vec![]))
    );
    let path = format!("/api/jobs/{job}");
    let cancel = format!("{path}/cancel");
    let bearer = |name| format!("Bearer {}", secret(&credentials, name));
    let refusals = [
        (browser.post(&cancel), StatusCode::UNAUTHORIZED),
        (
            browser.post(&format!("{cancel}?token={}", secret(&credentials, "alice"))),
            StatusCode::UNAUTHORIZED,
        ),
        (
            browser.post(&cancel).header(COOKIE, format!("token={}", secret(&credentials, "alice"))),
            StatusCode::UNAUTHORIZED,
        ),
        (
            browser.post(&cancel).header(AUTHORIZATION, secret(&credentials, "alice")),
            StatusCode::UNAUTHORIZED,
        ),
        (
            browser.post(&cancel).header(AUTHORIZATION, "Bearer lookbehind-wrong-token"),
            StatusCode::UNAUTHORIZED,
        ),
        (browser.post(&cancel).header(AUTHORIZATION, bearer("worker")), StatusCode::FORBIDDEN),
        (browser.post(&cancel).header(AUTHORIZATION, bearer("bob")), StatusCode::NOT_FOUND),
        (browser.delete(&path), StatusCode::UNAUTHORIZED),
        (browser.delete(&path).header(AUTHORIZATION, bearer("worker")), StatusCode::FORBIDDEN),
        (browser.delete(&path).header(AUTHORIZATION, bearer("bob")), StatusCode::NOT_FOUND),
        (browser.delete(&path).header(AUTHORIZATION, bearer("alice")), StatusCode::CONFLICT),
        (
            browser.get("/api/me").header(AUTHORIZATION, "Bearer lookbehind-wrong-token"),
            StatusCode::UNAUTHORIZED,
        ),
        (browser.get("/api/me"), StatusCode::UNAUTHORIZED),
    ];
    for (number, (request, expected)) in refusals.into_iter().enumerate() {
        let (status, answer) = answered(request).await;
        assert_eq!(status, expected, "request {number}: {answer}");
        assert!(!answer["error"].as_str().unwrap().contains(&secret(&credentials, "alice")));
    }
    assert_eq!(alice.job(&job).await.state(), v1::JobState::Queued, "nothing has happened to it");
    let form =
        browser.post(&cancel).header(AUTHORIZATION, bearer("alice")).header(CONTENT_TYPE, "text/plain");
    // Two content types are refused, even if one of them is right.
    assert_eq!(answered(form).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let (status, answer) = answered(browser.post(&cancel).header(AUTHORIZATION, bearer("alice"))).await;
    assert_eq!((status, &answer["job"]["state"]), (StatusCode::OK, &"cancelled".into()), "{answer}");
    // To bob it is as if there were no such job, in the same words.
    for (of_alice, of_nobody) in [
        (browser.post(&cancel), browser.post("/api/jobs/j00000000/cancel")),
        (browser.delete(&path), browser.delete("/api/jobs/j00000000")),
    ] {
        let (status, foreign) = answered(of_alice.header(AUTHORIZATION, bearer("bob"))).await;
        let missing = answered(of_nobody.header(AUTHORIZATION, bearer("bob"))).await;
        let missing_words = missing.1["error"].as_str().unwrap().replace("j00000000", &job);
        assert_eq!((status, foreign["error"].as_str()), (missing.0, Some(missing_words.as_str())));
    }
    let deleted = browser.delete(&path).header(AUTHORIZATION, bearer("alice"));
    assert_eq!(answered(deleted).await.0, StatusCode::NO_CONTENT);
    let again = browser.delete(&path).header(AUTHORIZATION, bearer("alice"));
    assert_eq!(answered(again).await.0, StatusCode::NOT_FOUND);
    let (_, me) = answered(browser.get("/api/me").header(AUTHORIZATION, bearer("alice"))).await;
    assert_eq!((&me["name"], &me["role"]), (&"alice".into(), &"user".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_coordinator_shows_nothing_to_those_who_have_not_signed_in() {
    let (cluster, credentials) = guarded(true).await;
    let browser = Browser::at(&cluster, Some(&credentials));
    for path in ["/api/overview", "/api/live", "/api/jobs/j00000000/live", "/metrics"] {
        assert_eq!(answered(browser.get(path)).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/", "/static/app.js", "/livez", "/readyz"] {
        assert_eq!(answered(browser.get(path)).await.0, StatusCode::OK, "{path}");
    }
    let bearer = format!("Bearer {}", secret(&credentials, "bob"));
    for path in ["/api/overview", "/metrics"] {
        let (status, _) = answered(browser.get(path).header(AUTHORIZATION, bearer.as_str())).await;
        assert_eq!(status, StatusCode::OK, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_authentication_pages_of_other_origins_have_no_access() {
    let cluster = Cluster::with_config(|config| config.http = Some("127.0.0.1:0".parse().unwrap())).await;
    let browser = Browser::at(&cluster, None);
    let job = cluster.client().submit(&jobs::small()).await;
    let cancel = format!("/api/jobs/{job}/cancel");
    let rebound = browser.get("/api/overview").header(HOST, "evil.example:7071");
    assert_eq!(answered(rebound).await.0, StatusCode::MISDIRECTED_REQUEST);
    let form = browser.client.post(format!("{}{cancel}", browser.origin)).body("{}");
    assert_eq!(answered(form).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let (status, answer) = answered(browser.post(&cancel)).await;
    assert_eq!((status, &answer["job"]["state"]), (StatusCode::OK, &"cancelled".into()), "{answer}");
    let (status, answer) = answered(browser.post("/api/jobs/j00000000/cancel")).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_follows_a_job_from_its_history_to_its_end() {
    let mut cluster = Cluster::with_config(|config| config.http = Some("127.0.0.1:0".parse().unwrap())).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add("w1", backend).await;
    let browser = Browser::at(&cluster, None);
    let job = cluster.client().submit(&jobs::small_with(|job| job.train.epochs = Some(30))).await;
    cluster.client().watch(&job).await.until_step(5).await;
    let response = browser.get(&format!("/api/jobs/{job}/live?points=100000")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let response = browser.get(&format!("/api/jobs/{job}/live?points=10000")).send().await.unwrap();
    let text = within("the end of the job", response.text()).await.unwrap();
    let events: Vec<(&str, Value)> = text
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("event: ")?.split_once("\ndata: "))
        .map(|(name, data)| (name, serde_json::from_str(data).unwrap()))
        .collect();
    assert_eq!((events[0].0, events[1].0), ("job", "history"));
    let history = events[1].1["steps"].as_array().unwrap().clone();
    let later = events
        .iter()
        .filter(|(name, _)| *name == "steps")
        .flat_map(|(_, steps)| steps.as_array().unwrap().clone());
    let seen: Vec<u64> =
        history.into_iter().chain(later).map(|step| step["outer_step"].as_u64().unwrap()).collect();
    let finished = cluster.client().job(&job).await;
    assert_eq!(seen, (1..=finished.total_outer_steps).collect::<Vec<u64>>(), "each outer step once");
    let timeline = events.iter().rev().find(|(name, _)| *name == "timeline").expect("a timeline");
    let requests = timeline.1.as_array().unwrap().last().unwrap()["requests"].as_array().unwrap().clone();
    let shards = |request: &Value| -> u64 {
        let parts = request["parts"].as_array().unwrap();
        parts
            .iter()
            .map(|part| part["end_shard"].as_u64().unwrap() - part["first_shard"].as_u64().unwrap())
            .sum()
    };
    assert!(
        requests.iter().all(|request| shards(request) == request["shards"].as_u64().unwrap()),
        "{requests:?}"
    );
    let (_, last) = events.iter().rev().find(|(name, _)| *name == "job").unwrap();
    assert_eq!((&last["state"], &last["digest"]), (&"succeeded".into(), &finished.digest.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_what_happened() {
    let (mut cluster, credentials) = guarded(false).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add_as("w1", backend, &credentials.folder("worker")).await;
    let browser = Browser::at(&cluster, Some(&credentials));
    let alice = client(cluster.url(), &credentials.folder("alice"));
    let history = alice.run(&jobs::small()).await;
    let worker = client(cluster.url(), &credentials.folder("worker"));
    worker.jobs().list_jobs(v1::ListJobsRequest::default()).await.expect_err("a worker is no user");
    let response = within("metrics", browser.get("/metrics").send()).await.unwrap();
    assert!(response.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = response.text().await.unwrap();
    let sum = |name: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    };
    let steps = history.steps.len() as f64;
    let samples: u64 = history.steps.iter().map(|step| step.samples).sum();
    let gradients: u32 = history.steps.iter().map(|step| step.gradients).sum();
    assert_eq!(sum("lookbehind_outer_steps_total{"), steps);
    assert_eq!(sum("lookbehind_samples_total{"), samples as f64);
    assert_eq!(sum("lookbehind_gradients_total{"), f64::from(gradients));
    assert_eq!(sum("lookbehind_reduction_seconds_count"), f64::from(gradients));
    assert_eq!(sum("lookbehind_outer_step_seconds_count"), steps);
    assert_eq!(sum("lookbehind_jobs{state=\"succeeded\"}"), 1.0);
    assert_eq!(sum("lookbehind_jobs{"), 1.0, "one job, in one state");
    assert_eq!(sum("lookbehind_refused_calls_total{reason=\"forbidden\"}"), 1.0);
    assert_eq!(sum("lookbehind_workers{"), 1.0);
    assert_eq!(sum("lookbehind_job_progress_ratio{"), 1.0);
    assert!(sum("lookbehind_checkpoints_total{outcome=\"written\"}") >= 2.0, "the first and the last");
    assert!(sum("lookbehind_checkpoint_bytes") > 0.0);
    let parameters = history_parameters(&alice, &history).await;
    // Every partial of a gradient contains a whole gradient; test partials contain none.
    assert!(
        sum("lookbehind_transfer_bytes_total{direction=\"received\"}")
            >= f64::from(gradients) * parameters * 4.0
    );
    assert!(sum("lookbehind_worker_shard_seconds_count{worker=\"worker/w1\"}") > 0.0);
}

/// Number of parameters of the job with this history.
async fn history_parameters(
    user: &lookbehind_tests::client::Client,
    history: &lookbehind_tests::client::History,
) -> f64 {
    let jobs = user.jobs().list_jobs(v1::ListJobsRequest::default()).await.unwrap().into_inner().jobs;
    let job = jobs.into_iter().find(|job| job.digest == history.digest()).expect("the job");
    let (tensors, _) = user.weights(&job.id).await;
    tensors.values().map(|(_, values)| values.len() as f64).sum()
}
