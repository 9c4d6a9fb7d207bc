//! Ownership of jobs: the owner and admins may do everything, others nothing.

use lookbehind_proto::v1;
use lookbehind_proto::wire;
use lookbehind_tests::client::{Client, within};
use lookbehind_tests::guarded::{self, client};
use lookbehind_tests::jobs;
use lookbehind_worker::registry::Registry;
use tonic::{Code, Status};

/// Makes every call that concerns a job.
async fn touch(user: &Client, job_id: &str) -> Vec<Result<(), Status>> {
    let (mut jobs, job_id) = (user.jobs(), job_id.to_owned());
    vec![
        // First, because a job that has not ended cannot be deleted, whoever asks.
        jobs.delete_job(v1::DeleteJobRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.get_job(v1::GetJobRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.watch_job(v1::WatchJobRequest { job_id: job_id.clone(), ..Default::default() }).await.map(drop),
        jobs.pause_job(v1::PauseJobRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.resume_job(v1::ResumeJobRequest { job_id: job_id.clone(), accept_class: false }).await.map(drop),
        jobs.retry_job(v1::RetryJobRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.cancel_job(v1::CancelJobRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.list_checkpoints(v1::ListCheckpointsRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.download_checkpoint(v1::DownloadCheckpointRequest { job_id, outer_step: None, best: false })
            .await
            .map(drop),
    ]
}

/// Checks that a user gets the same answers for a job of somebody else as for one that does not exist.
async fn is_unknown_to(user: &Client, job: &str) {
    const MISSING: &str = "j00000000";
    let answers = touch(user, job).await.into_iter().zip(touch(user, MISSING).await);
    for (number, (foreign, missing)) in answers.enumerate() {
        let (foreign, missing) = (foreign.expect_err("another's job"), missing.expect_err("no job"));
        assert_eq!(foreign.code(), Code::NotFound, "call {number}: {foreign}");
        assert_eq!(foreign.message(), format!("job {job}: not found"), "call {number}");
        assert_eq!(foreign.message().replace(job, MISSING), missing.message(), "call {number}");
        let rest = |status: &Status| (status.code(), status.details().to_vec());
        assert_eq!(rest(&foreign), rest(&missing), "call {number}");
    }
}

async fn listed(user: &Client) -> Vec<String> {
    let answer = user.jobs().list_jobs(v1::ListJobsRequest::default()).await.unwrap().into_inner();
    answer.jobs.into_iter().map(|job| job.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_nothing_to_do_with_anothers_job_and_an_admin_everything() {
    let (cluster, credentials) = guarded::cluster().await;
    let [alice, bob] = ["alice", "bob"].map(|name| client(cluster.url(), &credentials.folder(name)));
    let job = alice.submit(&jobs::small()).await;
    assert_eq!(alice.job(&job).await.owner, "alice");
    is_unknown_to(&bob, &job).await;
    assert_eq!(alice.job(&job).await.state(), v1::JobState::Queued, "nothing has happened to it");
    assert_eq!((listed(&alice).await, listed(&bob).await), (vec![job.clone()], vec![]));
    assert_eq!(listed(cluster.client()).await, std::slice::from_ref(&job));
    let paused = cluster.client().jobs().pause_job(v1::PauseJobRequest { job_id: job.clone() }).await;
    assert_eq!(paused.unwrap().into_inner().job.unwrap().message, "paused by admin \"admin\"");
    for done in &touch(&alice, &job).await[1..8] {
        assert!(done.is_ok(), "{done:?}");
    }
    assert_eq!(alice.job(&job).await.message, "cancelled by its user");
    // Also when it has ended.
    is_unknown_to(&bob, &job).await;
    alice
        .jobs()
        .delete_job(v1::DeleteJobRequest { job_id: job.clone() })
        .await
        .expect("alice's job has ended");
    is_unknown_to(&alice, &job).await;
    let (other, mut admin) = (alice.submit(&jobs::small()).await, cluster.client().jobs());
    admin.cancel_job(v1::CancelJobRequest { job_id: other.clone() }).await.expect("an admin may");
    admin.delete_job(v1::DeleteJobRequest { job_id: other.clone() }).await.expect("an admin may");
    assert_eq!(listed(&alice).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn which_job_a_worker_serves_is_shown_to_those_who_may_see_the_job() {
    let (mut cluster, credentials) = guarded::cluster().await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add_as("w1", backend, &credentials.folder("worker")).await;
    let [alice, bob] = ["alice", "bob"].map(|name| client(cluster.url(), &credentials.folder(name)));
    let long = jobs::small_with(|job| job.train.epochs = Some(100_000));
    let id = alice.submit(&long).await;
    alice.watch(&id).await.until_step(1).await;
    for (caller, shown) in [(&alice, id.as_str()), (&bob, ""), (cluster.client(), &id)] {
        let worker = caller.workers().await.remove(0);
        assert_eq!((worker.job_id.as_str(), worker.busy), (shown, true));
    }
    alice.jobs().cancel_job(v1::CancelJobRequest { job_id: id }).await.expect("alice may");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_worker_has_the_name_of_another_identitys() {
    let (mut cluster, credentials) = guarded::cluster().await;
    for (name, identity) in [("worker", "worker"), ("worker", "other-worker"), ("gpu", "other-worker")] {
        let backend = cluster.backend(Registry::builtin());
        cluster.add_as(name, backend, &credentials.folder(identity)).await;
    }
    let workers = within("three registrations", async {
        loop {
            let workers = cluster.client().workers().await;
            if workers.len() == 3 {
                return workers;
            }
        }
    })
    .await;
    let mut names: Vec<_> = workers.iter().map(|worker| worker.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["other-worker/gpu", "other-worker/worker", "worker"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_id_of_two_users_makes_two_jobs() {
    let (cluster, credentials) = guarded::cluster().await;
    let [alice, bob] = ["alice", "bob"].map(|name| client(cluster.url(), &credentials.folder(name)));
    let request =
        v1::CreateJobRequest { request_id: "one".into(), spec: Some(wire::to_proto(&jobs::small())) };
    let mut created = Vec::new();
    for user in [&alice, &bob, &alice] {
        let answer = user.jobs().create_job(request.clone()).await.unwrap().into_inner();
        created.push(answer.job.unwrap().id);
    }
    assert_ne!(created[0], created[1]);
    assert_eq!(created[0], created[2], "the retry is recognised");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_and_a_certificate_of_the_same_name_are_the_same_user() {
    let (cluster, credentials) = guarded::cluster().await;
    let token = credentials.only("alice", &["ca.pem", "token"], "alice-by-token");
    let by_token = client(cluster.url(), &token);
    let job = by_token.submit(&jobs::small()).await;
    let by_certificate = client(cluster.url(), &credentials.folder("alice"));
    assert_eq!(by_certificate.job(&job).await.owner, "alice");
}
