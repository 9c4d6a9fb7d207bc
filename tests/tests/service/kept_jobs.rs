//! Jobs that have ended: they are shown as before after a restart, and can be deleted.

use std::path::Path;
use std::time::Duration;

use lookbehind_coordinator::{Config, Coordinator};
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use lookbehind_tests::client::{Client, within};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::guarded::{self, Credentials};
use lookbehind_tests::jobs::{small, small_with};
use lookbehind_worker::registry::Registry;
use tempfile::TempDir;
use tonic::{Code, Status};

async fn delete(client: &Client, id: &str) -> Result<(), Status> {
    client.jobs().delete_job(v1::DeleteJobRequest { job_id: id.to_owned() }).await.map(drop)
}

async fn cancel(client: &Client, id: &str) {
    client.jobs().cancel_job(v1::CancelJobRequest { job_id: id.to_owned() }).await.expect("a cancelled job");
}

async fn list(client: &Client) -> Vec<v1::Job> {
    client.jobs().list_jobs(v1::ListJobsRequest::default()).await.expect("the jobs").into_inner().jobs
}

/// Waits until a file or folder is gone.
async fn gone(path: &Path) {
    within("the removal of files", async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A coordinator on a state folder.
async fn start(state: &TempDir) -> (Coordinator, Client) {
    let mut config = Config::new(state.path().to_owned());
    config.failure_detection = Duration::from_secs(60);
    let coordinator = Coordinator::start(config).await.expect("a coordinator");
    let client = Client::new(&format!("http://{}", coordinator.local_addr()));
    (coordinator, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_shows_jobs_that_have_ended_as_before() {
    let state = TempDir::with_prefix("lookbehind-state-").unwrap();
    let (coordinator, client) = start(&state).await;
    let request_id = |number: u32| format!("request-{number}");
    let spec = |number: u32| wire::to_proto(&small_with(|job| job.name = format!("number {number}")));
    let create = async |client: &Client, number: u32| {
        let request = v1::CreateJobRequest { request_id: request_id(number), spec: Some(spec(number)) };
        client.jobs().create_job(request).await.map(|answer| answer.into_inner().job.expect("a job"))
    };
    let (mut ids, mut histories) = (Vec::new(), Vec::new());
    for number in 0..5 {
        let id = create(&client, number).await.expect("a job").id;
        if number != 2 {
            cancel(&client, &id).await;
            histories.push(client.finish(&id).await.notices);
        }
        ids.push(id);
    }
    let mut before = list(&client).await;
    assert!(before.iter().all(|job| job.spec.is_some()), "lists hold specifications");
    delete(&client, &ids[4]).await.expect("a job that has ended");
    before.retain(|job| job.id != ids[4]);
    coordinator.shutdown().await;

    let (coordinator, client) = start(&state).await;
    assert_eq!(list(&client).await, before);
    let mut shown = Vec::new();
    for job in &before {
        shown.push(client.job(&job.id).await);
    }
    assert_eq!(shown, before);
    for (id, notices) in [&ids[0], &ids[1], &ids[3]].into_iter().zip(&histories) {
        assert_eq!(client.finish(id).await.notices, *notices);
    }
    assert_eq!(create(&client, 1).await.expect("the same job").id, ids[1], "the retry is recognised");
    assert_ne!(create(&client, 4).await.expect("another job").id, ids[4], "the deleted one is forgotten");
    coordinator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_job_is_gone_with_its_files_and_all_others_are_as_before() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let [deleted, kept] = [client.submit(&small()).await, client.submit(&small()).await];
    let (_, history) = (client.finish(&deleted).await, client.finish(&kept).await);
    let before = client.job(&kept).await;
    let folder = |id: &str| cluster.state().join("jobs").join(id);
    assert!(folder(&deleted).exists());
    delete(client, &deleted).await.expect("a job that has ended");
    gone(&folder(&deleted)).await;
    assert_eq!(delete(client, &deleted).await.expect_err("no job").code(), Code::NotFound);
    assert_eq!(list(client).await, [before]);
    assert_eq!(client.finish(&kept).await.notices, history.notices);
    assert_eq!(client.weights(&kept).await.1, history.digest());
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_has_not_ended_cannot_be_deleted() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let running =
        client.submit(&small_with(|job| (job.train.epochs, job.train.steps) = (None, Some(100_000)))).await;
    client.watch(&running).await.until_step(1).await;
    let waiting = client.submit(&small()).await;
    for (id, state) in [(&running, "running"), (&waiting, "queued")] {
        let refused = delete(client, id).await.expect_err("a job that has not ended");
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains(state) && refused.message().contains("cancel"), "{refused}");
    }
    client.watch(&running).await.until_step(5).await;
    cancel(client, &running).await;
    delete(client, &running).await.expect("a job that has ended");
    gone(&cluster.state().join("jobs").join(&running)).await;
    assert_eq!(client.finish(&waiting).await.state(), v1::JobState::Succeeded);
    cluster.still_works().await;
}

/// The events of a stream that may end with an error, by their number, and the error.
async fn watched(client: Client, id: String) -> (usize, Option<Status>) {
    let request = v1::WatchJobRequest { job_id: id, ..Default::default() };
    let mut stream = match client.jobs().watch_job(request).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return (0, Some(status)),
    };
    let mut events = 0;
    loop {
        match within("an event or the end", stream.message()).await {
            Ok(Some(_)) => events += 1,
            Ok(None) => return (events, None),
            Err(status) => return (events, Some(status)),
        }
    }
}

/// The bytes of a model file that may end with an error, by their number, and the error.
async fn fetched(client: Client, job_id: String) -> (u64, Option<Status>) {
    use v1::download_checkpoint_response::Part;
    let request = v1::DownloadCheckpointRequest { job_id, outer_step: None, best: false };
    let mut stream = match client.jobs().download_checkpoint(request).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return (0, Some(status)),
    };
    let (mut bytes, mut complete) = (0, false);
    loop {
        match within("a part or the end", stream.message()).await {
            Ok(Some(message)) => match message.part {
                Some(Part::Chunk(chunk)) => bytes += chunk.data.len() as u64,
                Some(Part::Trailer(_)) => complete = true,
                _ => {}
            },
            Ok(None) => return (bytes, (!complete).then(|| Status::data_loss("no trailer"))),
            Err(status) => return (bytes, Some(status)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_or_fetches_a_job_that_is_deleted_gets_all_of_it_or_is_told() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    // More events than are sent at once.
    let long = small_with(|job| {
        (job.train.epochs, job.train.steps) = (None, Some(600));
        job.optimizer = Default::default();
    });
    let mut told = 0;
    for round in 0..6 {
        let id = client.submit(&long).await;
        client.finish(&id).await;
        let (all, _) = watched(client.clone(), id.clone()).await;
        let (whole, _) = fetched(client.clone(), id.clone()).await;
        assert!(all > 600 && whole > 0);
        let watchers: Vec<_> = (0..4).map(|_| tokio::spawn(watched(client.clone(), id.clone()))).collect();
        let fetchers: Vec<_> = (0..4).map(|_| tokio::spawn(fetched(client.clone(), id.clone()))).collect();
        // Earlier or later in their course; every moment must lead to one of the two outcomes.
        for _ in 0..round {
            client.job(&id).await;
        }
        delete(client, &id).await.expect("a job that has ended");
        let mut check = |ended: Option<Status>, complete: bool| match ended {
            None => assert!(complete, "it ended early without a word"),
            Some(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status}");
                assert_eq!(status.message(), format!("job {id}: not found"));
                told += 1;
            }
        };
        for watcher in watchers {
            let (events, ended) = watcher.await.unwrap();
            check(ended, events == all);
        }
        for fetcher in fetchers {
            let (bytes, ended) = fetcher.await.unwrap();
            check(ended, bytes == whole);
        }
        // From now on there is one outcome.
        let (events, ended) = watched(client.clone(), id.clone()).await;
        assert_eq!((events, ended.map(|status| status.code())), (0, Some(Code::NotFound)));
        let (bytes, ended) = fetched(client.clone(), id.clone()).await;
        assert_eq!((bytes, ended.map(|status| status.code())), (0, Some(Code::NotFound)));
    }
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_coordinator_says_how_to_make_room_and_takes_jobs_again_when_there_is() {
    let cluster = Cluster::with_config(|config| config.max_jobs = 3).await;
    let client = cluster.client();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.submit(&small()).await);
        cancel(client, ids.last().unwrap()).await;
    }
    let refused = client.create(wire::to_proto(&small())).await.expect_err("no room");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    for words in ["kept jobs: 3 of the 3", "lookbehind delete", "DeleteJob"] {
        assert!(refused.message().contains(words), "{refused}");
    }
    delete(client, &ids[1]).await.expect("a job that has ended");
    client.submit(&small()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_checkpoints_do_not_fit_is_refused_by_key_before_it_trains() {
    let mut cluster = Cluster::with_config(|config| config.max_checkpoint_bytes = 1_000_000).await;
    cluster.add("w1", cluster.backend(Registry::builtin())).await;
    let message = cluster.client().run_to_failure(&small_with(|job| job.checkpoint.keep = Some(1000))).await;
    for word in ["checkpoint.keep: 1000", "all jobs", "--max-checkpoint-bytes", "lookbehind delete"] {
        assert!(message.contains(word), "expected {word:?} in {message:?}");
    }
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_owner_gets_a_quarter_of_what_checkpoints_may_take() {
    let credentials = Credentials::new();
    let folder = credentials.folder("coordinator");
    let mut cluster = Cluster::guarded(&credentials.folder("admin"), |config| {
        config.credentials = Some(folder);
        config.max_checkpoint_bytes = 4_000_000;
    })
    .await;
    cluster.add_as("w1", cluster.backend(Registry::builtin()), &credentials.folder("worker")).await;
    let alice = guarded::client(cluster.url(), &credentials.folder("alice"));
    let message = alice.run_to_failure(&small_with(|job| job.checkpoint.keep = Some(300))).await;
    assert!(message.contains("1000000 for the jobs of one owner"), "{message}");
    assert_eq!(
        alice.run(&small_with(|job| job.checkpoint.keep = Some(50))).await.state(),
        v1::JobState::Succeeded
    );
}
