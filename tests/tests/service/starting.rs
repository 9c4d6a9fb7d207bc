//! Jobs that start from a checkpoint of another job, and jobs that go on where another one stopped.

use std::io;
use std::sync::{Arc, Mutex};

use clap::Parser;
use lookbehind::args::Cli;
use lookbehind::commands;
use lookbehind::console::Console;
use lookbehind_common::job::file::BaseName;
use lookbehind_common::job::{Init, InitialJob, JobFile};
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use lookbehind_tests::client::{Client, within};
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::guarded;
use lookbehind_tests::jobs::{small, small_with};
use lookbehind_worker::registry::Registry;
use tonic::{Code, Status};

/// The small job from a checkpoint of another job.
fn from_job(
    job: &str,
    checkpoint: Option<u64>,
    continues: bool,
    change: impl FnOnce(&mut JobFile),
) -> JobFile {
    let mut file = small_with(change);
    let checkpoint = checkpoint.map(Into::into);
    file.model.init = Some(Init::Job(InitialJob { job: job.to_owned(), checkpoint, continues }));
    file
}

/// The bytes of the model file of a job's newest checkpoint.
async fn model_file(client: &Client, id: &str) -> Vec<u8> {
    use v1::download_checkpoint_response::Part;
    let request = v1::DownloadCheckpointRequest { job_id: id.to_owned(), outer_step: None, best: false };
    let mut stream = client.jobs().download_checkpoint(request).await.expect("a checkpoint").into_inner();
    let mut bytes = Vec::new();
    while let Some(message) = stream.message().await.expect("a whole transfer") {
        if let Some(Part::Chunk(chunk)) = message.part {
            bytes.extend_from_slice(&chunk.data);
        }
    }
    bytes
}

#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl io::Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The identity of the job that a command makes.
async fn made_by(cluster: &Cluster, line: &str) -> String {
    let words = format!("lookbehind {line} --coordinator {}", cluster.url());
    let command = Cli::try_parse_from(words.split_whitespace()).expect("a command").command;
    let out = Out::default();
    let console = Console::to(false, out.clone());
    within("the command", commands::run(command, &console, Registry::builtin())).await.expect("a new job");
    String::from_utf8(out.0.lock().unwrap().clone()).expect("text").trim().to_owned()
}

async fn delete(client: &Client, id: &str) {
    client.jobs().delete_job(v1::DeleteJobRequest { job_id: id.to_owned() }).await.expect("a deleted job");
}

async fn refused(client: &Client, file: &JobFile) -> Status {
    client.create(wire::to_proto(file)).await.expect_err("a job without its start")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_epochs_and_two_more_come_to_the_same_weights_as_four() {
    let cluster = Cluster::of(2).await;
    let client = cluster.client();
    for base in [BaseName::Sgd, BaseName::Adamw] {
        let of = |epochs| {
            move |job: &mut JobFile| {
                job.train.epochs = Some(epochs);
                job.optimizer.base.kind = base;
                if base == BaseName::Adamw {
                    (job.optimizer.base.momentum, job.optimizer.base.lr) = (None, Some(0.01));
                }
            }
        };
        let whole = client.run(&small_with(of(4))).await;
        let first = client.submit(&small_with(of(2))).await;
        client.finish(&first).await;
        let second = client.finish(&client.submit(&from_job(&first, None, true, of(4))).await).await;
        assert_eq!(second.digest(), whole.digest(), "{base:?}");
        assert_eq!(second.step_numbers(), (19..=36).collect::<Vec<u64>>());
        let digests = |steps: &[v1::OuterStepMetrics]| -> Vec<String> {
            steps.iter().map(|step| step.digest.clone()).collect()
        };
        assert_eq!(digests(&second.steps), digests(&whole.steps[18..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_starts_from_a_job_comes_to_the_same_weights_as_from_its_model_file() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let first = client.submit(&small()).await;
    client.finish(&first).await;
    let digest = client.upload(model_file(client, &first).await).await.expect("a file");
    let reseeded = |job: &mut JobFile| job.seed = Some(11);
    let from_file = small_with(|job| {
        reseeded(job);
        job.model.init = Some(digest.into());
    });
    let expected = client.run(&from_file).await;
    let found = client.run(&from_job(&first, Some(18), false, reseeded)).await;
    assert_eq!(found.digest(), expected.digest());
    assert!(found.said(&["starts from outer step 18", &first]), "{:?}", found.notices);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_starts_from_a_job_that_was_deleted_since_it_was_created() {
    let mut cluster = Cluster::of(1).await;
    let first = cluster.client().submit(&small_with(|job| job.train.epochs = Some(1))).await;
    cluster.client().finish(&first).await;
    cluster.stop("w1").await.expect("a worker");
    let next = cluster.client().submit(&from_job(&first, None, true, |_| ())).await;
    delete(cluster.client(), &first).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add("w2", backend).await;
    let history = cluster.client().finish(&next).await;
    assert_eq!(history.digest(), small_digest().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_start_from_another_is_refused_with_the_reason() {
    let (cluster, credentials) = guarded::cluster().await;
    let [alice, bob] = ["alice", "bob"].map(|name| guarded::client(cluster.url(), &credentials.folder(name)));
    let first = alice.submit(&small()).await;
    let foreign = refused(&bob, &from_job(&first, None, false, |_| ())).await;
    let missing = refused(&bob, &from_job("j00000000", None, false, |_| ())).await;
    assert_eq!((foreign.code(), missing.code()), (Code::NotFound, Code::NotFound));
    assert_eq!(foreign.message().replace(&first, "j00000000"), missing.message());
    let early = refused(&alice, &from_job(&first, None, false, |_| ())).await;
    assert_eq!(early.message(), format!("job {first}: has no checkpoint"));
    let never = refused(&alice, &from_job(&first, Some(7), false, |_| ())).await;
    assert_eq!(never.message(), format!("job {first}: has no checkpoint of outer step 7"));
    let nothing = refused(&alice, &from_job("latest", None, false, |_| ())).await;
    assert_eq!(nothing.code(), Code::InvalidArgument);
    assert!(nothing.message().contains("model.init.job"), "{nothing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_go_on_where_another_stopped_fails_with_the_reason() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let first = client.submit(&small()).await;
    client.finish(&first).await;
    let no_longer = client.run_to_failure(&from_job(&first, None, true, |_| ())).await;
    assert!(no_longer.contains("more than the 18 outer steps") && no_longer.contains(&first), "{no_longer}");
    let divided = from_job(&first, None, true, |job| {
        job.train.epochs = Some(9);
        job.train.batch_size = 12;
    });
    let divided = client.run_to_failure(&divided).await;
    assert!(divided.contains("model.init") && divided.contains("batch size"), "{divided}");
    let wider = from_job(&first, None, false, |job| {
        job.model.parameters.insert("hidden".into(), serde_json::json!([17]));
    });
    let wider = client.run_to_failure(&wider).await;
    assert!(wider.contains("model.init") && wider.contains("another layout"), "{wider}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_clones_a_job_with_changed_keys_and_goes_on_with_the_clone() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let first = client.submit(&small_with(|job| job.seed = Some(7))).await;
    client.finish(&first).await;
    let clone = made_by(&cluster, &format!("submit --from {first} --set train.epochs=1 --set seed=3")).await;
    assert_eq!(client.finish(&clone).await.step_numbers(), (1..=9).collect::<Vec<u64>>());
    let next = made_by(&cluster, &format!("continue {clone} --epochs 2")).await;
    let history = client.finish(&next).await;
    assert_eq!(history.step_numbers(), (10..=18).collect::<Vec<u64>>());
    assert_eq!(history.digest(), small_digest().await);
}
