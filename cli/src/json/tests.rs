use super::*;
use crate::fake_test::{job, source, step};
use crate::line::Line;
use crate::text::is_over;

#[test]
fn a_line_says_what_it_is() {
    let line = serde_json::to_value(Line::Step(StepJson::from(&step(1)))).unwrap();
    assert_eq!(line["step"]["outer_step"], 1);
    let line = serde_json::to_value(Line::Job(Box::new(JobJson::from(&job(v1::JobState::Running))))).unwrap();
    assert_eq!(line["job"]["state"], "running");
}

#[test]
fn states_are_the_protocols_in_lower_case() {
    for number in 0..=7 {
        let state = v1::JobState::try_from(number).unwrap();
        let expected = state.as_str_name().strip_prefix("JOB_STATE_").unwrap().to_lowercase();
        assert_eq!(state_word(state), expected);
    }
    assert!(v1::JobState::try_from(8).is_err());
}

#[test]
fn only_ends_are_over() {
    use v1::JobState::{Cancelled, Failed, Paused, Preparing, Queued, Running, Succeeded};
    assert!([Succeeded, Failed, Cancelled].into_iter().all(is_over));
    assert!(![Queued, Preparing, Running, Paused].into_iter().any(is_over));
}

#[test]
fn a_job_shows_its_specification_as_a_job_file_would() {
    let source = source();
    let job = v1::Job { spec: Some(source.message()), ..job(v1::JobState::Queued) };
    let value = serde_json::to_value(JobJson::from(&job)).unwrap();
    assert_eq!(value["spec"]["optimizer"]["method"], "lookbehind");
    assert_eq!(value["spec"]["train"]["batch_size"], 128);
}
