//! A job that is to be verified goes on only where workers of two identities are there.

use super::*;
use crate::state::active::Phase;
use crate::state::second_identity::WAITS_FOR_SECOND;

/// The job is created with `resources.verify` and begun by workers of two identities.
fn begun() -> (Scene, [Origin; 2]) {
    let mut scene = Scene::new();
    let workers = ["a", "b"].map(|name| scene.registered(name, Some(name)).unwrap());
    scene.create_verified();
    workers.iter().for_each(|worker| scene.prepared(worker, "data"));
    (scene, workers)
}

fn waits(scene: &Scene) -> bool {
    let training = scene.active().training();
    training.is_some_and(|training| matches!(training.phase, Phase::AwaitingSecond(..)))
}

#[test]
fn it_does_not_start_on_one_identity_and_says_so() {
    let mut scene = Scene::new();
    for name in ["a", "b"] {
        scene.registered(name, Some("one")).unwrap();
    }
    scene.create_verified();
    assert_eq!((scene.record().state, scene.record().message.as_str()), (JobState::Queued, WAITS_FOR_SECOND));
    scene.registered("c", Some("two")).unwrap();
    assert_eq!(scene.record().state, JobState::Preparing);
}

#[test]
fn the_last_place_is_kept_for_a_second_identity() {
    let mut scene = Scene::new();
    for name in ["a", "b"] {
        scene.registered(name, Some("one")).unwrap();
    }
    let other = scene.registered("c", Some("two")).unwrap();
    let create = tests::create_with(0, |file| {
        (file.resources.verify, file.resources.max_workers) = (Some(1), Some(2));
    });
    scene.handle(create);
    assert!(scene.active().members.contains_key(&other.session()));
    assert_eq!(scene.active().members.len(), 2);
}

#[test]
fn it_waits_where_one_identity_is_left_and_goes_on_with_the_next() {
    let (mut scene, [alice, bob]) = begun();
    scene.lose(&bob);
    scene.drawn(&alice);
    assert!(waits(&scene));
    let carol = scene.registered("c", Some("carol")).unwrap();
    scene.prepared(&carol, "data");
    assert!(!waits(&scene));
}

#[test]
fn after_the_grace_period_it_leaves_its_workers_to_others() {
    let (mut scene, [alice, bob]) = begun();
    scene.lose(&bob);
    scene.drawn(&alice);
    scene.after(Duration::from_secs(601));
    scene.stored(0);
    assert_eq!((scene.record().state, scene.record().message.as_str()), (JobState::Queued, WAITS_FOR_SECOND));
    assert_eq!(scene.core.cluster.workers.free().count(), 1);
    scene.registered("c", Some("carol")).unwrap();
    assert_eq!(scene.record().state, JobState::Preparing);
}

#[test]
fn it_can_be_paused_while_it_waits() {
    let (mut scene, [alice, bob]) = begun();
    scene.lose(&bob);
    scene.drawn(&alice);
    let job = scene.core.jobs.get_mut(&scene.job).unwrap();
    job.record.pausing = true;
    scene.after(Duration::from_secs(1));
    scene.stored(0);
    assert_eq!(scene.record().state, JobState::Paused);
}
