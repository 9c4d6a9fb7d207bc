//! Finding jobs: by states, names and labels, over gRPC and HTTP; what they wait for, and their results.

use lookbehind_proto::v1;
use lookbehind_tests::client::Client;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::http;
use lookbehind_tests::jobs::{on_workers, small_with};
use lookbehind_worker::registry::Registry;
use serde_json::Value;

/// Submits a job with a name and a label.
async fn submit(client: &Client, name: &str, study: &str) -> String {
    let job = small_with(|job| {
        name.clone_into(&mut job.name);
        job.labels.insert("study".into(), study.into());
        on_workers(job, 1);
    });
    client.submit(&job).await
}

async fn list(client: &Client, request: v1::ListJobsRequest) -> Vec<v1::Job> {
    client.jobs().list_jobs(request).await.expect("the jobs").into_inner().jobs
}

async fn cluster() -> Cluster {
    Cluster::with_config(|config| config.http = Some("127.0.0.1:0".parse().expect("an address"))).await
}

/// The identities of the jobs of a page over HTTP.
async fn page(cluster: &Cluster, query: &str) -> Vec<String> {
    let address = cluster.http_addr().expect("an address");
    let answer = http::get(address, &format!("/api/jobs?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let page: Value = serde_json::from_str(&answer.text).expect("JSON");
    let ids = page["jobs"].as_array().expect("jobs").iter();
    ids.map(|job| job["id"].as_str().expect("an identity").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_found_by_state_name_and_label_over_grpc_and_http_alike() {
    let cluster = cluster().await;
    let client = cluster.client();
    let (first, second) = (submit(client, "LR=0.1, k=2", "one").await, submit(client, "lr=0.2", "two").await);
    client.jobs().cancel_job(v1::CancelJobRequest { job_id: second.clone() }).await.expect("a cancelled job");
    let all = vec![first.clone(), second.clone()];
    let label = |value: &str| v1::ListJobsRequest {
        labels: [("study".to_owned(), value.to_owned())].into(),
        ..Default::default()
    };
    let name = |name: &str| v1::ListJobsRequest { name: name.into(), ..Default::default() };
    let state =
        |state: v1::JobState| v1::ListJobsRequest { states: vec![state.into()], ..Default::default() };
    for (request, query, expected) in [
        (v1::ListJobsRequest::default(), "", &all),
        (label("two"), "label=study%3Dtwo", &vec![second.clone()]),
        (label(""), "label=study", &all),
        (name("lr=0.1"), "name=Lr%3D0.1", &vec![first.clone()]),
        (state(v1::JobState::Cancelled), "state=cancelled", &vec![second.clone()]),
        (state(v1::JobState::Running), "state=running", &vec![]),
    ] {
        let found: Vec<String> = list(client, request).await.into_iter().map(|job| job.id).collect();
        assert_eq!(found, *expected, "{query}");
        assert_eq!(page(&cluster, query).await, *expected, "{query}");
    }
    let address = cluster.http_addr().expect("an address");
    let refused = http::get(address, "/api/jobs?state=runing").await;
    assert_eq!(refused.status, 400);
    assert!(refused.text.contains("expected the state of a job"), "{}", refused.text);
    let unknown = v1::ListJobsRequest { states: vec![77], ..Default::default() };
    let refused = client.jobs().list_jobs(unknown).await.expect_err("there is no such state");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("77"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_says_what_it_waits_for_and_when_it_has_ended_which_results_it_has() {
    let mut cluster = cluster().await;
    let id = submit(cluster.client(), "waits", "one").await;
    let waiting = cluster.client().job(&id).await;
    assert_eq!(waiting.waiting_for, "a worker: none is connected");
    assert_eq!(waiting.results, None);
    let backend = cluster.backend(Registry::builtin());
    cluster.add("worker", backend).await;
    let history = cluster.client().finish(&id).await;
    let done = cluster.client().job(&id).await;
    assert_eq!(done.waiting_for, "");
    let results = done.results.expect("results");
    let last = history.steps.last().expect("an outer step");
    assert_eq!(
        (results.outer_step, results.loss, results.accuracy),
        (last.outer_step, last.loss, last.accuracy)
    );
    let tested = history.steps.iter().rfind(|step| step.test.is_some());
    assert_eq!(results.test, tested.and_then(|step| step.test));
    assert_eq!(results.test_outer_step, tested.map_or(0, |step| step.outer_step));
    let listed = list(cluster.client(), v1::ListJobsRequest::default()).await;
    assert_eq!(listed[0].results, Some(results));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_message_of_a_running_job_is_never_out_of_date() {
    let cluster = Cluster::of(1).await;
    let id = cluster.client().submit(&small_with(|job| job.train.epochs = Some(1_000_000))).await;
    cluster.client().watch(&id).await.until_step(10).await;
    let running = cluster.client().job(&id).await;
    assert_eq!((running.state(), running.message.as_str()), (v1::JobState::Running, ""));
}
