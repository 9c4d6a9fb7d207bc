//! What a worker cannot do to a job by lying about it.

use super::*;
use crate::state::job::Ground;

#[test]
fn the_class_of_most_identities_counts_and_not_that_of_the_first() {
    let mut scene = Scene::new();
    let mallory = scene.registered("m", Some("mallory")).unwrap();
    let honest = ["a", "b", "c"].map(|name| scene.registered(name, Some(name)).unwrap());
    scene.create();
    scene.prepared_as(&mallory, "data", "invented", 2);
    // Longer than the description alone was waited for.
    scene.after(Duration::from_secs(3));
    assert!(scene.record().class.is_none());
    honest.iter().for_each(|worker| scene.prepared(worker, "data"));
    assert_eq!(scene.excluded(), [mallory.session()]);
    assert_eq!(scene.record().class.as_ref().unwrap().probe, Digest::of(b"probe"));
}

#[test]
fn many_sessions_of_one_identity_are_one_voice() {
    let mut scene = Scene::new();
    let honest = ["a", "b"].map(|name| scene.registered(name, Some(name)).unwrap());
    let mallory = ["m", "n"].map(|name| scene.registered(name, Some("mallory")).unwrap());
    scene.create();
    mallory.iter().for_each(|session| scene.prepared_as(session, "data", "invented", 2));
    assert!(scene.record().class.is_none());
    honest.iter().for_each(|worker| scene.prepared(worker, "data"));
    assert_eq!(scene.excluded(), mallory.map(|session| session.session()));
}

#[test]
fn one_worker_cannot_fail_a_job_that_another_can_prepare() {
    let mut scene = Scene::new();
    let mallory = scene.registered("m", Some("mallory")).unwrap();
    let alice = scene.registered("a", Some("alice")).unwrap();
    scene.create();
    scene.failed(&mallory, Fault::Job);
    assert_eq!(scene.record().state, JobState::Preparing);
    let again = scene.registered("m", Some("mallory")).unwrap();
    scene.failed(&again, Fault::Job);
    assert_eq!(scene.record().state, JobState::Preparing, "the same identity says it again");
    scene.prepared(&alice, "data");
    scene.drawn(&alice);
    assert_eq!(scene.record().state, JobState::Running);
}

#[test]
fn a_job_that_two_identities_cannot_prepare_fails_and_names_both() {
    let mut scene = Scene::new();
    let workers = ["a", "b", "c"].map(|name| scene.registered(name, Some(name)).unwrap());
    scene.create();
    scene.failed(&workers[0], Fault::Job);
    scene.failed(&workers[1], Fault::Job);
    assert_eq!(scene.record().state, JobState::Failed);
    assert_eq!(scene.record().message, "workers a and b: an invented reason");
}

#[test]
fn a_job_that_has_begun_is_not_failed_by_workers_that_cannot_prepare_it() {
    let mut scene = Scene::new();
    let alice = scene.registered("a", Some("alice")).unwrap();
    scene.create();
    scene.prepared(&alice, "data");
    scene.drawn(&alice);
    for name in ["m", "n", "o"] {
        let mallory = scene.registered(name, Some(name)).unwrap();
        scene.failed(&mallory, Fault::Job);
    }
    assert_eq!(scene.record().state, JobState::Running);
    scene.lose(&alice);
    assert_eq!(scene.record().state, JobState::Running, "{}", scene.record().message);
}

#[test]
fn an_impossible_model_described_by_one_worker_fails_no_job_that_another_can_serve() {
    let mut scene = Scene::new();
    let mallory = scene.registered("m", Some("mallory")).unwrap();
    let alice = scene.registered("a", Some("alice")).unwrap();
    scene.create();
    scene.prepared_as(&mallory, "data", "probe", 1 << 40);
    scene.after(Duration::from_secs(16));
    assert_eq!(scene.record().state, JobState::Preparing, "{}", scene.record().message);
    assert_eq!(scene.excluded(), [mallory.session()]);
    scene.prepared(&alice, "data");
    assert!(matches!(scene.active().stage, Stage::Drawing(_)));
}

#[test]
fn an_identity_that_fails_three_times_is_not_asked_again_at_once() {
    let mut scene = Scene::new();
    let alice = scene.registered("a", Some("alice")).unwrap();
    scene.create();
    let asked = |scene: &mut Scene| {
        let mallory = scene.registered("m", Some("mallory")).unwrap();
        let was_asked = scene.active().members.contains_key(&mallory.session());
        scene.failed(&mallory, Fault::Worker);
        scene.lose(&mallory);
        was_asked
    };
    assert!((0..3).all(|_| asked(&mut scene)));
    assert!(!asked(&mut scene));
    let revision = scene.record().revision;
    for _ in 0..20 {
        let mallory = scene.registered("m", Some("mallory")).unwrap();
        scene.lose(&mallory);
    }
    assert_eq!(scene.record().revision, revision, "notices without end");
    scene.after(Duration::from_secs(61));
    assert!(asked(&mut scene));
    assert!(scene.active().members.contains_key(&alice.session()));
}

#[test]
fn a_job_whose_class_is_gone_says_what_it_waits_for_and_pauses() {
    let mut scene = Scene::new();
    let mallory = scene.registered("m", Some("mallory")).unwrap();
    scene.create();
    scene.prepared_as(&mallory, "data", "invented", 2);
    scene.drawn(&mallory);
    let alice = scene.registered("a", Some("alice")).unwrap();
    scene.prepared(&alice, "data");
    assert_eq!(scene.core.jobs[&scene.job].excluded[&alice.session()].ground, Ground::OtherClass);
    scene.lose(&mallory);
    scene.after(Duration::from_secs(601));
    assert_eq!(scene.record().state, JobState::Paused);
    assert!(scene.record().message.contains("or accept another"), "{}", scene.record().message);
}
