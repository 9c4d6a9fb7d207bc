use lookbehind_common::job::Init;

use super::*;
use crate::fake_test::{job, source};

/// The digits job, which has 20 epochs, in a state.
fn in_state(state: v1::JobState) -> v1::Job {
    v1::Job { spec: Some(source().message()), outer_step: 240, total_outer_steps: 240, ..job(state) }
}

fn refused(job: &v1::Job, epochs: Option<u64>, steps: Option<u64>) -> String {
    continuing(job, epochs, steps).expect_err("no way to go on").to_string()
}

#[test]
fn a_job_goes_on_with_its_specification_from_its_last_checkpoint() {
    let done = in_state(v1::JobState::Succeeded);
    let settings = continuing(&done, Some(30), None).expect("a way to go on");
    let next = JobSource::of_job(&done, &settings).expect("a job");
    let mut expected = source().file().clone();
    expected.train.epochs = Some(30);
    let from = InitialJob { job: done.id, checkpoint: Some(240.into()), continues: true };
    expected.model.init = Some(Init::Job(from));
    assert_eq!(*next.file(), expected);
}

#[test]
fn only_a_job_that_has_succeeded_goes_on_with_more() {
    let failed = refused(&in_state(v1::JobState::Failed), Some(30), None);
    assert!(failed.contains("is failed") && failed.contains("lookbehind retry"), "{failed}");
}

#[test]
fn the_length_is_given_in_the_unit_of_the_job_and_counts_from_its_beginning() {
    let done = in_state(v1::JobState::Succeeded);
    assert!(refused(&done, None, Some(300)).contains("counts epochs: give --epochs"));
    for epochs in [1, 20] {
        let text = refused(&done, Some(epochs), None);
        assert!(
            text.contains(&format!(
                "has 20 epochs: expected more than these in all, found --epochs {epochs}"
            )),
            "{text}"
        );
    }
    let mut steps = done;
    let train = steps.spec.as_mut().and_then(|spec| spec.train.as_mut()).expect("its length");
    (train.epochs, train.steps) = (None, Some(240));
    assert!(refused(&steps, Some(30), None).contains("counts outer steps: give --steps"));
    assert!(continuing(&steps, None, Some(241)).is_ok());
}
