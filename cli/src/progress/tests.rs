use super::*;
use crate::fake_test::{job, step};

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn lines_come_with_tests_but_not_in_floods_and_never_leave_out_the_last() {
    let (mut lines, start) = (Lines::default(), Instant::now());
    assert!(lines.is_due(start, false, false), "the first step shows that it runs");
    assert!(!lines.is_due(start + at(100), true, false), "too soon");
    assert!(!lines.is_due(start + at(5000), false, false), "nothing to say");
    assert!(lines.is_due(start + at(5000), true, false), "a test result");
    assert!(!lines.is_due(start + at(14_999), false, false));
    assert!(lines.is_due(start + at(15_000), false, false), "a long silence");
    assert!(lines.is_due(start + at(15_001), false, true), "the last step");
}

#[test]
fn speed_is_that_of_the_job_and_not_of_the_watcher() {
    let mut speed = Speed::default();
    for n in 1..=50 {
        speed.add(&step(n));
    }
    assert_eq!(speed.samples_per_second(), 100.0);
    assert!((speed.seconds_left(10) - 10.0).abs() < 1e-9);
}

#[test]
fn nothing_measured_is_no_division_by_zero() {
    let mut speed = Speed::default();
    assert_eq!(speed.samples_per_second(), 0.0);
    speed.add(&v1::OuterStepMetrics { time: Some(v1::TimeSplit::default()), ..step(1) });
    assert_eq!(speed.samples_per_second(), 0.0);
}

#[test]
fn text_names_loss_accuracy_speed_and_time_left() {
    let mut progress = Progress::new(&Console::new(true));
    progress.set_total(100);
    let tested = v1::TestMetrics { loss: 0.5, accuracy: 0.875, samples: 8 };
    progress.step(&v1::OuterStepMetrics { test: Some(tested), ..step(1) });
    progress.step(&step(2));
    let text = progress.text(&step(2));
    assert_eq!(text, "loss 0.5000  accuracy 75.0 %  test 87.5 %  1m38s left  100 samples/s");
}

#[test]
fn a_total_that_is_not_known_yet_is_not_told_as_none() {
    let mut progress = Progress::new(&Console::new(true));
    progress.step(&step(1));
    let line = "outer step 1  epoch 1  loss 1.0000  accuracy 50.0 %  100 samples/s";
    assert_eq!(progress.line(&step(1)), line);
    progress.set_total(3);
    let line = progress.line(&step(2));
    assert!(line.starts_with("outer step 2/3  epoch 1  ") && line.contains("  1s left  "), "{line}");
}

#[test]
fn durations_are_told_in_their_two_largest_units() {
    let texts = [0.2, 59.4, 60.0, 3599.0, 3600.0, 86_399.0, 266_400.0].map(duration);
    assert_eq!(texts, ["0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m", "3d02h"]);
}

#[test]
fn what_a_job_waits_for_is_said_when_it_changes_and_only_then() {
    let mut progress = Progress::new(&Console::new(true));
    let mut told = |waiting_for: &str| {
        let job = v1::Job { waiting_for: waiting_for.to_owned(), ..job(v1::JobState::Queued) };
        progress.new_wait(&job)
    };
    assert_eq!(told(""), None);
    assert_eq!(told("a worker").as_deref(), Some("j00000000 waits for a worker"));
    assert_eq!(told("a worker"), None);
    assert_eq!(told("job j1").as_deref(), Some("j00000000 waits for job j1"));
    assert_eq!(told(""), None);
    assert!(told("job j1").is_some(), "it waits again");
}
