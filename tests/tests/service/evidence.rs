//! Jobs that keep samples for validation and have wrong labels: what each evaluation is computed on, and that no result
//! depends on the workers.

use lookbehind_common::job::JobFile;
use lookbehind_proto::v1;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::{job, on_workers};

/// Digits with 40 % wrong labels, few enough of them to be memorised.
fn noisy(epochs: u64, workers: u32) -> JobFile {
    let mut job = job(&format!(
        "name = 'noisy'\nseed = 5\n[model]\nkind = 'mlp'\nhidden = [64]\n\
         [data]\nkind = 'digits'\nresplit = 497\nlimit = 300\nvalidation = 100\n\
         label_noise = {{ kind = 'symmetric_other', rate = 0.4 }}\n\
         [train]\nepochs = {epochs}\nbatch_size = 50\nshards = 4\n\
         [optimizer]\nmethod = 'lookbehind'\nk = 2\nrho = 0.05\n\
         [optimizer.base]\nkind = 'sgd'\nlr = 0.2\nmomentum = 0.9\n\
         [eval]\nevery_epochs = 2\n"
    ));
    on_workers(&mut job, workers);
    job
}

/// What must not depend on the workers.
fn results(steps: &[v1::OuterStepMetrics]) -> Vec<v1::OuterStepMetrics> {
    let without =
        |step: &v1::OuterStepMetrics| v1::OuterStepMetrics { time: None, workers: 0, ..step.clone() };
    steps.iter().map(without).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validation_clean_labels_and_memorised_ones_are_the_same_on_any_number_of_workers() {
    let cluster = Cluster::of(3).await;
    let alone = cluster.client().run(&noisy(4, 1)).await;
    let samples = |test: Option<v1::TestMetrics>| test.map(|test| test.samples);
    for step in &alone.steps {
        let due = step.outer_step == 8 || step.outer_step == 16;
        let found = [step.test, step.validation, step.clean, step.memorised].map(samples);
        assert_eq!(
            found,
            [497, 100, 200, 80].map(|count| due.then_some(count)),
            "outer step {}",
            step.outer_step
        );
    }
    for workers in [2, 3] {
        let together = cluster.client().run(&noisy(4, workers)).await;
        assert_eq!(results(&together.steps), results(&alone.steps), "{workers} workers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_labels_are_memorised_and_the_clean_ones_are_then_no_longer_predicted() {
    let cluster = Cluster::of(1).await;
    let history = cluster.client().run(&noisy(300, 1)).await;
    let accuracy = |test: Option<v1::TestMetrics>| test.expect("an evaluation").accuracy;
    let tested: Vec<_> = history.steps.iter().filter(|step| step.test.is_some()).collect();
    let (first, last) = (tested[0], tested[tested.len() - 1]);
    assert!(accuracy(first.memorised) < 0.3, "{first:?}");
    // All wrong labels are learned: what is left of the clean ones is the share of the samples whose label is right.
    assert_eq!((accuracy(last.memorised), accuracy(last.clean)), (1.0, 0.6), "{last:?}");
    assert!(accuracy(last.test) < accuracy(last.validation) + 0.2, "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_the_data_cannot_fulfil_fail_the_job_by_their_path() {
    let cluster = Cluster::of(1).await;
    let mut wrong = noisy(1, 1);
    wrong.data.parameters.insert("validation".to_owned(), 300.into());
    let message = cluster.client().run_to_failure(&wrong).await;
    assert!(message.contains("data.validation: expected 1 to 299 samples"), "{message}");
}
