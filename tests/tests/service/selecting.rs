//! The checkpoint of the best evaluation is kept, and training stops where no better one comes, whatever number of workers
//! there is.

use lookbehind_common::job::{Criterion, EarlyStoppingSection, Init, InitialJob, JobFile, WhichCheckpoint};
use lookbehind_proto::v1;
use lookbehind_tests::client::{Client, History};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::small_with;
use serde_json::json;
use tonic::{Code, Status};

/// The small job for eight epochs, with validation samples, one kept checkpoint and none in between.
fn job(change: impl FnOnce(&mut JobFile)) -> JobFile {
    small_with(|file| {
        file.train.epochs = Some(8);
        file.data.parameters.insert("validation".into(), json!(0.25));
        file.optimizer.base.lr = Some(0.5);
        file.checkpoint.every_steps = Some(0);
        file.checkpoint.keep = Some(1);
        change(file);
    })
}

/// Outer steps and digest of the checkpoint that a download has.
async fn header(client: &Client, id: &str, best: bool) -> Result<(u64, String), Status> {
    use v1::download_checkpoint_response::Part;
    let request = v1::DownloadCheckpointRequest { job_id: id.to_owned(), outer_step: None, best };
    let mut stream = client.jobs().download_checkpoint(request).await?.into_inner();
    match stream.message().await?.and_then(|message| message.part) {
        Some(Part::Header(header)) => Ok((header.outer_step, header.digest)),
        other => panic!("expected a header, found {other:?}"),
    }
}

/// The step whose evaluation has the lowest loss in validation; the first of equal ones.
fn best_of(history: &History) -> &v1::OuterStepMetrics {
    let loss = |step: &&v1::OuterStepMetrics| step.validation.as_ref().map(|validation| validation.loss);
    let tested = history.steps.iter().filter(|step| step.validation.is_some());
    tested.min_by(|one, other| loss(one).partial_cmp(&loss(other)).expect("finite")).expect("evaluations")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checkpoint_of_the_best_evaluation_is_kept_beside_the_last_one() {
    let mut found = Vec::new();
    for workers in [1, 2, 4] {
        let cluster = Cluster::of(workers).await;
        let client = cluster.client();
        let id =
            client.submit(&job(|file| file.checkpoint.keep_best = Some(Criterion::ValidationLoss))).await;
        let history = client.finish(&id).await;
        history.check_whole();
        let best = best_of(&history);
        assert!(
            best.outer_step < history.steps.len() as u64,
            "the last one must not be the best, or nothing is shown"
        );
        assert_eq!(
            header(client, &id, true).await.expect("the best"),
            (best.outer_step, best.digest.clone())
        );
        let last = (history.steps.len() as u64, history.digest().to_owned());
        assert_eq!(header(client, &id, false).await.expect("the newest"), last);
        let kept = client.job(&id).await.results.and_then(|results| results.best).expect("a best evaluation");
        let value = best.validation.as_ref().map(|validation| validation.loss);
        assert_eq!((kept.outer_step, Some(kept.value)), (best.outer_step, value));
        assert_eq!(kept.metric(), v1::Criterion::ValidationLoss);
        found.push((best.outer_step, best.digest.clone()));
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_starts_from_the_best_checkpoint_of_another_one() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let from = |id: &str| {
        let from =
            InitialJob { job: id.to_owned(), checkpoint: Some(WhichCheckpoint::BEST), continues: false };
        job(|file| {
            file.model.init = Some(Init::Job(from));
            // The weights stay what they were.
            file.optimizer.base.lr = Some(1e-30);
            file.train.epochs = Some(1);
        })
    };
    let id = client.submit(&job(|file| file.checkpoint.keep_best = Some(Criterion::ValidationLoss))).await;
    let first = client.finish(&id).await;
    let history = client.run(&from(&id)).await;
    assert_eq!(history.digest(), best_of(&first).digest);

    let without = client.submit(&job(|_| ())).await;
    client.finish(&without).await;
    let refused =
        client.create(lookbehind_proto::wire::to_proto(&from(&without))).await.expect_err("no best one");
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("has no best checkpoint"), "{refused}");
    assert_eq!(header(client, &without, true).await.expect_err("no best one").code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn training_stops_early_at_the_same_outer_step_for_any_number_of_workers() {
    let stopping = EarlyStoppingSection { metric: None, patience: 2, min_delta: Some(1e9) };
    let mut found = Vec::new();
    for workers in [1, 2, 4] {
        let cluster = Cluster::of(workers).await;
        let id = cluster.client().submit(&job(|file| file.early_stopping = Some(stopping.clone()))).await;
        let history = cluster.client().finish(&id).await;
        assert_eq!(history.state(), v1::JobState::Succeeded);
        assert!(history.message().contains("early_stopping: validation_loss"), "{}", history.message());
        let evaluations = history.steps.iter().filter(|step| step.validation.is_some()).count();
        assert_eq!(evaluations, 3, "the first one, and two that are no better by as much");
        assert!(history.steps.last().is_some_and(|step| step.validation.is_some()));
        let total = cluster.client().job(&id).await.total_outer_steps;
        assert!((history.steps.len() as u64) < total);
        found.push((history.steps.len(), cluster.client().weights(&id).await.1));
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_measured_on_the_data_is_refused() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let of_test = job(|file| file.checkpoint.keep_best = Some(Criterion::TestAccuracy));
    let message = client.run_to_failure(&of_test).await;
    assert!(message.contains("checkpoint.keep_best: test_accuracy needs test samples"), "{message}");
    let of_validation = job(|file| {
        file.data.parameters.remove("validation");
        file.early_stopping = Some(EarlyStoppingSection { patience: 1, ..EarlyStoppingSection::default() });
    });
    let message = client.run_to_failure(&of_validation).await;
    assert!(message.contains("early_stopping.metric: validation_loss needs validation samples"), "{message}");
    assert!(message.contains("data.validation"), "{message}");
}
