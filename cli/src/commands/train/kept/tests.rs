use super::*;
use crate::fake_test::{job, source};

fn kept(state: v1::JobState, spec: v1::JobSpec) -> Kept {
    Kept(vec![v1::Job { outer_step: 3, spec: Some(spec), ..job(state) }])
}

#[test]
fn the_same_job_is_found_in_whatever_state_it_is_and_another_is_not() {
    let spec = source().message();
    for state in [v1::JobState::Queued, v1::JobState::Paused, v1::JobState::Succeeded, v1::JobState::Failed] {
        assert!(kept(state, spec.clone()).same(&spec).is_some(), "{state:?}");
    }
    let other = v1::JobSpec { seed: Some(7), ..spec.clone() };
    assert!(kept(v1::JobState::Paused, other).same(&spec).is_none());
}

#[test]
fn a_job_that_begins_anew_says_what_of_its_file_has_changed() {
    let source = source();
    let other = v1::JobSpec { seed: Some(7), ..source.message() };
    assert_eq!(
        kept(v1::JobState::Paused, other).why_anew(&source).unwrap(),
        "job j00000000 in the state folder (paused at outer step 3 of 4) is another version of this one: seed is absent \
         and was 7; this one begins at outer step 0"
    );
    let unrelated = v1::JobSpec { name: "other".to_owned(), ..source.message() };
    assert_eq!(kept(v1::JobState::Paused, unrelated).why_anew(&source), None);
    assert_eq!(Kept::default().why_anew(&source), None);
}
