//! Users' calls: retries, identities, pages, limits.

use lookbehind_proto::v1;
use lookbehind_proto::wire;
use lookbehind_tests::client::{Client, History};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::{small, small_with};
use lookbehind_worker::registry::Registry;
use tonic::{Code, Status};

async fn create(client: &Client, request_id: &str, spec: v1::JobSpec) -> Result<v1::Job, Status> {
    let request = v1::CreateJobRequest { request_id: request_id.to_owned(), spec: Some(spec) };
    Ok(client.jobs().create_job(request).await?.into_inner().job.unwrap())
}

async fn list(client: &Client, page_size: u32, token: &str) -> Result<v1::ListJobsResponse, Status> {
    let request = v1::ListJobsRequest { page_size, page_token: token.to_owned(), ..Default::default() };
    Ok(client.jobs().list_jobs(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_creates_one_job_and_another_body_under_its_id_is_refused() {
    let cluster = Cluster::new().await;
    let client = cluster.client();
    let spec = wire::to_proto(&small());
    let first = create(client, "once", spec.clone()).await.unwrap();
    let again = create(client, "once", spec.clone()).await.unwrap();
    assert_eq!(again.id, first.id);
    let mut other = spec.clone();
    other.seed = Some(99);
    let refused = create(client, "once", other.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("once"), "{refused}");
    assert_eq!(client.job(&first.id).await.spec, Some(spec));
    let second = create(client, "twice", other).await.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(list(client, 0, "").await.unwrap().jobs.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_ids_that_cannot_be_kept_are_refused_by_name() {
    let cluster = Cluster::of(1).await;
    for request_id in ["", "a b", "nul\0", "schön", &"x".repeat(65), &"x".repeat(1 << 18)] {
        let refused = create(cluster.client(), request_id, wire::to_proto(&small())).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains("request_id") && refused.message().len() < 1000, "{refused}");
    }
    let nothing = v1::CreateJobRequest { request_id: "nothing".into(), spec: None };
    let refused = cluster.client().jobs().create_job(nothing).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("spec")), (Code::InvalidArgument, true));
    assert!(list(cluster.client(), 0, "").await.unwrap().jobs.is_empty());
    cluster.still_works().await;
}

/// The status of every call that names a job.
async fn statuses(client: &Client, id: &str) -> Vec<Status> {
    let job_id = || id.to_owned();
    let mut jobs = client.jobs();
    vec![
        jobs.get_job(v1::GetJobRequest { job_id: job_id() }).await.unwrap_err(),
        jobs.cancel_job(v1::CancelJobRequest { job_id: job_id() }).await.unwrap_err(),
        jobs.pause_job(v1::PauseJobRequest { job_id: job_id() }).await.unwrap_err(),
        jobs.resume_job(v1::ResumeJobRequest { job_id: job_id(), accept_class: false }).await.unwrap_err(),
        jobs.delete_job(v1::DeleteJobRequest { job_id: job_id() }).await.unwrap_err(),
        jobs.watch_job(v1::WatchJobRequest { job_id: job_id(), ..Default::default() }).await.unwrap_err(),
        jobs.download_checkpoint(v1::DownloadCheckpointRequest {
            job_id: job_id(),
            outer_step: None,
            best: false,
        })
        .await
        .unwrap_err(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_that_no_job_has_are_refused_by_every_call() {
    let cluster = Cluster::of(1).await;
    for id in ["", "../../../../etc/passwd", "j1234567\0", "J12345678", &"j".repeat(10_000)] {
        for status in statuses(cluster.client(), id).await {
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            assert!(status.message().contains("job_id"), "{status}");
        }
    }
    for status in statuses(cluster.client(), "j00000000").await {
        assert_eq!(status.code(), Code::NotFound, "{status}");
        assert!(status.message().contains("j00000000"), "{status}");
    }
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_listed_newest_first_page_by_page() {
    let cluster = Cluster::new().await;
    let client = cluster.client();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(client.submit(&small_with(|job| job.name = format!("number {number}"))).await);
    }
    ids.reverse();
    let (mut listed, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = list(client, 2, &token).await.unwrap();
        listed.extend(page.jobs.into_iter().map(|job| job.id));
        pages += 1;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((listed, pages), (ids, 3));
    for (size, token, named) in [(1001, "", "page_size"), (u32::MAX, "", "page_size"), (1, "x", "page_token")]
    {
        let refused = list(client, size, token).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(named), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_further_jobs_until_there_is_room() {
    let cluster = Cluster::with_config(|config| config.max_queued_jobs = 2).await;
    let client = cluster.client();
    let first = client.submit(&small()).await;
    client.submit(&small()).await;
    let refused = client.create(wire::to_proto(&small())).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("queued jobs"), "{refused}");
    client.jobs().cancel_job(v1::CancelJobRequest { job_id: first }).await.unwrap();
    client.submit(&small()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_do_not_fit_a_jobs_state_say_so_and_change_nothing() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let id = client.submit(&small()).await;
    let done = client.finish(&id).await;
    let before = client.job(&id).await;
    let job_id = || id.clone();
    let mut jobs = client.jobs();
    for (verb, answer) in [
        ("cancel", jobs.cancel_job(v1::CancelJobRequest { job_id: job_id() }).await.err()),
        ("pause", jobs.pause_job(v1::PauseJobRequest { job_id: job_id() }).await.err()),
        (
            "resume",
            jobs.resume_job(v1::ResumeJobRequest { job_id: job_id(), accept_class: false }).await.err(),
        ),
    ] {
        let status = answer.unwrap();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        let says = [verb, "succeeded", &id].iter().all(|word| status.message().contains(word));
        assert!(says, "{status}");
    }
    assert_eq!(client.job(&id).await, before);
    assert_eq!(client.finish(&id).await.notices, done.notices);
    let missing = v1::DownloadCheckpointRequest { job_id: job_id(), outer_step: Some(12345), best: false };
    let status = jobs.download_checkpoint(missing).await.unwrap_err();
    assert_eq!((status.code(), status.message().contains("12345")), (Code::NotFound, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_higher_priority_gets_the_free_worker_first() {
    let mut cluster = Cluster::new().await;
    let of_priority = |priority| small_with(|job| job.resources.priority = Some(priority));
    let low = cluster.client().submit(&of_priority(-1)).await;
    let high = cluster.client().submit(&of_priority(1)).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add("only", backend).await;
    let (low, high) = (cluster.client().finish(&low).await, cluster.client().finish(&high).await);
    let begun = |history: &History| {
        let preparing = |notice: &&v1::JobNotice| notice.state() == v1::JobState::Preparing;
        history.notices.iter().find(preparing).and_then(|notice| notice.at).map(|at| (at.seconds, at.nanos))
    };
    let over = high.notices.last().and_then(|notice| notice.at).map(|at| (at.seconds, at.nanos));
    assert!(begun(&high) < begun(&low) && over <= begun(&low), "{:?} and {:?}", high.notices, low.notices);
    assert_eq!(high.digest(), low.digest());
}
