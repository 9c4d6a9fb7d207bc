//! Which jobs a list has, in which order, and how its pages fit together.

use super::*;
use crate::state::event::UserCall;
use crate::state::tests::{Desk, spec};

fn user(name: &str) -> Caller {
    Caller::User(name.into())
}

fn admin() -> Caller {
    Caller::Admin("root".into())
}

/// Creates a job with a name and labels.
fn create(
    desk: &mut Desk,
    owner: &str,
    name: &str,
    labels: &[(&str, &str)],
) -> lookbehind_common::ids::JobId {
    let mut spec = spec("", None);
    name.clone_into(&mut spec.name);
    spec.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let request_id = name.replace(' ', "-");
    desk.create(&user(owner), &request_id, spec).expect("room for a job")
}

/// The names in a list, page by page.
fn listed(desk: &mut Desk, caller: &Caller, filter: &JobFilter, count: usize) -> Vec<String> {
    let (mut names, mut from) = (Vec::new(), None);
    loop {
        let query = JobQuery { filter: filter.clone(), count, from, specs: false };
        let Reply::Jobs(page, next) = desk.ask(caller, UserCall::List(query)) else {
            panic!("expected a page of jobs");
        };
        assert!(page.len() <= count);
        names.extend(page.into_iter().map(|view| view.record.name));
        from = next;
        if next.is_none() {
            return names;
        }
    }
}

#[test]
fn a_job_that_has_not_ended_comes_before_all_that_have_however_old_it_is() {
    let mut desk = Desk::new(|config| config.keep.jobs = 1000);
    create(&mut desk, "alice", "old", &[]);
    for number in 0..150 {
        let id = create(&mut desk, "alice", &format!("ended {number}"), &[]);
        desk.cancel(&user("alice"), &id).expect("a job that has not ended");
    }
    create(&mut desk, "alice", "new", &[]);
    let all = listed(&mut desk, &user("alice"), &JobFilter::default(), 100);
    assert_eq!(all[..4], ["new", "old", "ended 149", "ended 148"]);
    assert_eq!(all.len(), 152);
}

#[test]
fn a_list_has_what_its_filter_admits_whatever_the_size_of_its_pages() {
    let mut desk = Desk::new(|_| ());
    for (number, owner) in ["alice", "bob", "alice", "bob", "alice", "bob"].into_iter().enumerate() {
        let name = format!("LR=0.{number}");
        let study = if number < 3 { "first" } else { "second" };
        let id = create(&mut desk, owner, &name, &[("study", study), (owner, "yes")]);
        if number % 2 == 0 {
            desk.cancel(&admin(), &id).expect("a job that has not ended");
        }
    }
    let labels = |labels: &[(&str, &str)]| JobFilter {
        labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        ..JobFilter::default()
    };
    let states = |states: &[JobState]| JobFilter { states: states.to_vec(), ..JobFilter::default() };
    let cases = [
        (JobFilter::default(), vec![5, 3, 1, 4, 2, 0]),
        (states(&[JobState::Queued]), vec![5, 3, 1]),
        (states(&[JobState::Cancelled]), vec![4, 2, 0]),
        (states(&[JobState::Running]), vec![]),
        (JobFilter { owner: "bob".into(), ..JobFilter::default() }, vec![5, 3, 1]),
        (JobFilter { owner: "carol".into(), ..JobFilter::default() }, vec![]),
        (JobFilter { name: "lr=0.4".into(), ..JobFilter::default() }, vec![4]),
        (labels(&[("study", "first")]), vec![1, 2, 0]),
        (labels(&[("study", ""), ("alice", "yes")]), vec![4, 2, 0]),
        (labels(&[("study", "third")]), vec![]),
    ];
    for _ in 0..2 {
        for (filter, expected) in &cases {
            let expected: Vec<String> = expected.iter().map(|number| format!("LR=0.{number}")).collect();
            for count in 1..7 {
                assert_eq!(listed(&mut desk, &admin(), filter, count), expected, "{filter:?}");
            }
        }
        let of_others = JobFilter { owner: "bob".into(), ..JobFilter::default() };
        assert!(listed(&mut desk, &user("alice"), &of_others, 9).is_empty(), "filters give no access");
        desk.restart();
    }
}

#[test]
fn one_call_looks_at_a_bounded_number_of_jobs_and_the_pages_still_find_the_oldest() {
    let mut desk = Desk::new(|config| (config.keep.jobs, config.keep.job_bytes) = (1 << 20, 1 << 30));
    for number in 0..2 * LOOKED_AT + 10 {
        let id = create(&mut desk, "alice", &format!("job {number}."), &[]);
        desk.cancel(&user("alice"), &id).expect("a job that has not ended");
        // What the desk keeps to start again is not needed here.
        desk.stored.clear();
    }
    let filter = JobFilter { name: "job 0.".into(), ..JobFilter::default() };
    let query = JobQuery { filter: filter.clone(), count: 5, from: None, specs: false };
    let Reply::Jobs(page, next) = desk.ask(&admin(), UserCall::List(query)) else {
        panic!("expected a page")
    };
    assert!(page.is_empty() && next.is_some(), "the first call has not seen it");
    assert_eq!(listed(&mut desk, &admin(), &filter, 5), ["job 0."]);
}

#[test]
fn the_token_of_a_page_leads_back_to_its_place_and_nothing_else_does() {
    for place in [Place::Unended(0), Place::Unended(17), Place::Ended(u64::MAX)] {
        assert_eq!(place.to_string().parse(), Ok(place));
    }
    for token in ["", "17", "u", "x17", "e-1", "u17 ", "e99999999999999999999"] {
        assert_eq!(token.parse::<Place>(), Err(NotAPlace), "{token:?}");
    }
}
