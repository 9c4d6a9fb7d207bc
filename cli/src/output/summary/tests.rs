use lookbehind_proto::v1;

use super::*;
use crate::fake_test::{job, step};

fn tally(steps: impl IntoIterator<Item = v1::OuterStepMetrics>) -> Tally {
    let mut tally = Tally::default();
    steps.into_iter().for_each(|step| tally.step(&step));
    tally
}

fn summary(steps: impl IntoIterator<Item = v1::OuterStepMetrics>) -> Summary {
    tally(steps).summary(&job(v1::JobState::Succeeded), None)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

#[test]
fn gradients_samples_and_time_are_summed_over_the_outer_steps() {
    let summary = summary((1..=4).map(step));
    assert_eq!((summary.samples, summary.outer_steps), (400, 4));
    assert_eq!(summary.gradients, Gradients { total: 12, per_outer_step: 3.0 });
    assert_eq!(summary.time.seconds.total, 4.0);
    assert_eq!((summary.time.seconds.compute, summary.time.share.compute), (2.0, 0.5));
    assert_eq!((summary.time.share.communication, summary.time.share.data), (0.25, 0.0625));
    assert_eq!(summary.digest, "digest-4");
}

#[test]
fn training_result_is_that_of_the_last_epoch_weighted_by_samples() {
    let small = v1::OuterStepMetrics { samples: 50, ..step(4) };
    let train = summary([step(1), step(2), step(3), small]).train.unwrap();
    assert_eq!(train.epoch, 1);
    assert!(near(train.loss, (100.0 / 3.0 + 50.0 / 4.0) / 150.0), "{}", train.loss);
    assert!(near(train.accuracy, (100.0 * (1.0 - 0.5 / 3.0) + 50.0 * 0.875) / 150.0), "{}", train.accuracy);
}

#[test]
fn newest_test_result_is_kept_with_its_outer_step() {
    let test = |accuracy| Some(v1::TestMetrics { loss: 0.1, accuracy, samples: 8 });
    let first = v1::OuterStepMetrics { test: test(0.5), ..step(1) };
    let second = v1::OuterStepMetrics { test: test(0.75), ..step(2) };
    let result = summary([first, second, step(3)]).test.unwrap();
    assert_eq!((result.outer_step, result.metrics.accuracy), (2, 0.75));
}

#[test]
fn costs_are_those_with_the_usual_number_of_workers() {
    let slow = v1::TimeSplit { total: 100.0, ..v1::TimeSplit::default() };
    let alone = v1::OuterStepMetrics { workers: 1, time: Some(slow), ..step(1) };
    let costs = tally([alone, step(2), step(3)]).costs().unwrap();
    assert_eq!((costs.workers, costs.per_step.total), (2, 1.0));
}

#[test]
fn a_run_without_steps_has_a_summary_without_results() {
    let summary = summary([]);
    assert!(summary.train.is_none() && summary.test.is_none() && summary.one_more_worker.is_none());
    assert_eq!((summary.gradients.per_outer_step, summary.time.share.total), (0.0, 0.0));
}

#[test]
fn a_model_of_other_weights_than_the_metrics_or_the_job_tell_of_is_refused() {
    let mut summary = summary((1..=2).map(step));
    let job =
        |digest: &str| v1::Job { outer_step: 2, digest: digest.to_owned(), ..job(v1::JobState::Succeeded) };
    let class_names = vec!["ant".to_owned(), "bee".to_owned()];
    let (digest, data_report) = ("digest-2".to_owned(), vec!["9 training samples".to_owned()]);
    let model = Model { path: "m".into(), outer_step: 2, digest, class_names, data_report };
    let other = Model { digest: "other".to_owned(), ..model.clone() };
    let error = summary.set_model(&job(""), &other).unwrap_err().to_string();
    assert!(error.contains("digest-2") && error.contains("other"), "{error}");
    let error = summary.set_model(&job("result"), &model).unwrap_err().to_string();
    assert!(error.contains("digest-2") && error.contains("result"), "{error}");
    summary.set_model(&job("digest-2"), &model).unwrap();
    assert_eq!(summary.classes, ["ant", "bee"]);
    assert_eq!(summary.data, ["9 training samples"]);
}
