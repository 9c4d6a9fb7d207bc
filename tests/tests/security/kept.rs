//! A flood of jobs that are created and cancelled: they take space on the disk, up to a limit, and no memory.

use lookbehind_proto::v1;
use lookbehind_proto::wire;
use lookbehind_tests::client::Client;
use lookbehind_tests::jobs::small_with;
use prost::Message as _;
use tonic::Code;

use super::floods::Target;

/// Jobs of the flood.
const JOBS: usize = 600;
/// Size in bytes of the specification of each.
const BYTES: usize = 250_000;
/// The most by which the memory of a coordinator may grow, in bytes: the database keeps 32 MiB of its pages, and the
/// allocator some of what was freed. The specifications take 143 MiB, once.
const GROWTH: u64 = 80 << 20;

/// A specification of a little more than `BYTES` bytes.
fn large() -> v1::JobSpec {
    wire::to_proto(&small_with(|job| {
        job.model.parameters.insert("text".into(), "x".repeat(BYTES).into());
    }))
}

async fn create_and_cancel(client: &Client, spec: &v1::JobSpec) -> Result<String, tonic::Status> {
    let job_id = client.create(spec.clone()).await?.id;
    client.jobs().cancel_job(v1::CancelJobRequest { job_id: job_id.clone() }).await.expect("a cancelled job");
    Ok(job_id)
}

async fn newest(client: &Client) -> v1::Job {
    let request = v1::ListJobsRequest { page_size: 1, ..Default::default() };
    client.jobs().list_jobs(request).await.expect("the jobs").into_inner().jobs.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_have_ended_take_no_memory_not_even_after_a_restart() {
    let mut target = Target::start(None).await;
    let client = Client::new(&target.url);
    let spec = large();
    // What the first calls need is not counted.
    create_and_cancel(&client, &spec).await.expect("room for a job");
    let before = target.peak();
    let mut last = String::new();
    for _ in 0..JOBS {
        last = create_and_cancel(&client, &spec).await.expect("room for a job");
    }
    let grown = target.peak() - before;
    assert!(grown < GROWTH, "grown by {} MiB", grown >> 20);
    assert_eq!((newest(&client).await.id, newest(&client).await.spec), (last.clone(), Some(spec.clone())));
    let stored = target.stored();
    // The database copies pages before it changes them, and keeps some that are free.
    assert!(stored < 3 * (JOBS * BYTES) as u64, "{} MiB on the disk", stored >> 20);

    target.restart().await;
    let client = Client::new(&target.url);
    assert_eq!((newest(&client).await.id, newest(&client).await.spec), (last, Some(spec)));
    let started = target.peak();
    assert!(started < before + GROWTH / 2, "{} MiB after a restart, {} before", started >> 20, before >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_specifications_that_are_kept_are_limited() {
    let target = Target::with_args(None, &["--max-job-bytes", "8"]).await;
    let client = Client::new(&target.url);
    let spec = large();
    let mut ids = Vec::new();
    let refused = loop {
        match create_and_cancel(&client, &spec).await {
            Ok(id) => ids.push(id),
            Err(status) => break status,
        }
    };
    assert_eq!(ids.len(), (8 << 20) / spec.encoded_len(), "{refused}");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("lookbehind delete"), "{refused}");
    client
        .jobs()
        .delete_job(v1::DeleteJobRequest { job_id: ids.remove(0) })
        .await
        .expect("a job that has ended");
    create_and_cancel(&client, &spec).await.expect("room for a job");
}
