use super::*;
use crate::fake_test::{job, source, step};
use crate::output::summary::Tally;

#[test]
fn a_run_ends_with_its_results_in_words() {
    let source = source();
    let job = v1::Job { spec: Some(source.message()), ..job(v1::JobState::Succeeded) };
    let mut tally = Tally::default();
    for n in 1..=4 {
        let test = (n == 4).then_some(v1::TestMetrics { loss: 0.1, accuracy: 0.975, samples: 359 });
        tally.step(&v1::OuterStepMetrics { test, ..step(n) });
    }
    let lines = summary(&tally.summary(&job, Some(&source.spec)), None);
    let text = lines.join("\n");
    for expected in [
        "job              j00000000 \"digits\" succeeded, results after 4 of 4 outer steps",
        "train            loss 0.2917, accuracy 85.4 % (over epoch 2)",
        "test             loss 0.1000, accuracy 97.5 % (359 samples, outer step 4)",
        "gradients        12, 3 per outer step",
        "time             4.0 s in outer steps: 50.0 % compute, 6.2 % data, 25.0 % communication, 12.5 % optimizer, 6.2 % waiting",
        "digest           digest-4",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected:?} is not in\n{text}");
    }
    assert!(text.contains("one more worker  "), "{text}");
}

#[test]
fn jobs_are_listed_with_state_and_progress() {
    let running = v1::Job { outer_step: 2, workers: 3, ..job(v1::JobState::Running) };
    let lines = jobs(&[running]);
    assert_eq!(lines[0], "ID         NAME  STATE    OUTER STEP  LOSS  TEST  WORKERS  CREATED  MESSAGE");
    assert_eq!(lines[1], "j00000000        running  2/4                     3");
}

#[test]
fn a_list_has_results_labels_where_there_are_any_and_what_jobs_wait_for() {
    let labels = [("seed", "3"), ("study", "a")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let spec = v1::JobSpec { name: "lr=0.1".to_owned(), labels: labels.into(), ..v1::JobSpec::default() };
    let test = Some(v1::TestMetrics { loss: 0.2, accuracy: 0.975, samples: 7 });
    let results =
        v1::JobResults { outer_step: 4, loss: 0.12345, accuracy: 1.0, test, test_outer_step: 3, best: None };
    let done = v1::Job { spec: Some(spec), results: Some(results), ..job(v1::JobState::Succeeded) };
    let waiting_for = "a worker: none is connected".to_owned();
    let queued = v1::Job { waiting_for, ..job(v1::JobState::Queued) };
    let lines = jobs(&[done.clone(), queued]);
    for (line, expected) in lines.iter().zip([
        "ID         NAME    LABELS           STATE      OUTER STEP  LOSS    TEST    WORKERS  CREATED  MESSAGE",
        "j00000000  lr=0.1  seed=3, study=a  succeeded  0/4         0.1235  97.5 %  0",
        "j00000000                           queued     0/4                         0                 waits for a worker: none is connected",
    ]) {
        assert_eq!(line, expected);
    }
    let lines = super::job(&done);
    assert!(lines.contains(&"labels      seed=3, study=a".to_owned()), "{lines:?}");
    assert!(
        lines.contains(&"test        loss 0.2000, accuracy 97.5 % (outer step 3)".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn a_job_that_does_outer_steps_again_says_up_to_which() {
    let again = v1::Job { outer_step: 2, repeats_until: 3, ..job(v1::JobState::Running) };
    assert!(super::job(&again).contains(&"outer step  2/4, done before up to 3".to_owned()));
}

#[test]
fn checkpoints_are_listed_with_size_and_time() {
    let (bytes, digest) = (3 << 20, "digest".to_owned());
    let written_at = Some(Default::default());
    let mut checkpoint = v1::Checkpoint { outer_step: 40, epoch: 2, digest, bytes, written_at };
    checkpoint.written_at.as_mut().unwrap().seconds = 1_700_000_000;
    let lines = checkpoints(&[checkpoint]);
    assert_eq!(lines[0], "OUTER STEP  EPOCHS  SIZE      WRITTEN               DIGEST");
    assert_eq!(lines[1], "40          2       3.00 MiB  2023-11-14T22:13:20Z  digest");
}

#[test]
fn a_job_is_shown_without_fields_that_say_nothing() {
    let lines = super::job(&job(v1::JobState::Queued));
    assert_eq!(lines, ["job         j00000000", "state       queued", "outer step  0/4", "workers     0"]);
}

#[test]
fn free_workers_are_told_from_busy_ones() {
    let worker = v1::Worker { session: 1, name: "a".to_owned(), ..v1::Worker::default() };
    let busy = v1::Worker { job_id: "j00000000".to_owned(), shards_done: 7, ..worker.clone() };
    let elsewhere = v1::Worker { busy: true, ..worker.clone() };
    let lines = workers(&[worker, busy, elsewhere]);
    assert_eq!(lines[0], "SESSION  NAME  VERSION  DEVICE  JOB             SHARDS DONE  SILENT");
    assert_eq!(lines[1], "1        a                      -               0            0.0 s");
    assert_eq!(lines[2], "1        a                      j00000000       7            0.0 s");
    assert_eq!(lines[3], "1        a                      another user's  0            0.0 s");
}

#[test]
fn a_message_that_repeats_the_state_is_left_out() {
    let queued = v1::Job { message: "queued".to_owned(), ..job(v1::JobState::Queued) };
    assert!(!super::job(&queued).iter().any(|line| line.starts_with("message")));
    assert_eq!(reason(v1::JobState::Failed, "queued"), "queued");
}

#[test]
fn a_job_that_never_ran_has_no_results() {
    let lines = summary(&Tally::default().summary(&job(v1::JobState::Cancelled), None), None);
    assert_eq!(lines, ["job              j00000000 \"\" cancelled, before its first outer step"]);
}

#[test]
fn a_pause_that_waits_for_the_outer_step_is_told_from_one_that_is_done() {
    let state = |state| pausing(&job(state)).into_iter().find(|line| line.starts_with("state")).unwrap();
    assert_eq!(state(v1::JobState::Running), "state       running, pauses after the current outer step");
    assert_eq!(state(v1::JobState::Paused), "state       paused");
}
