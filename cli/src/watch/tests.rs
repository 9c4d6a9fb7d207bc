use super::*;
use crate::fake_test::{Fake, Script, event, job, notice, step};

fn steps(range: std::ops::RangeInclusive<u64>) -> Vec<Result<v1::WatchJobResponse, Status>> {
    range.map(|n| event(Wire::Step(step(n)))).collect()
}

/// Watches to the end; returns the outer steps and revisions in order, and how often the connection was lost.
async fn watch_all(url: &str) -> (Vec<u64>, Vec<u64>, usize) {
    let mut watch = Watch::new(Client::connect(url).await.unwrap(), "j00000000");
    let (mut outer_steps, mut revisions, mut lost) = (Vec::new(), Vec::new(), 0);
    loop {
        match watch.next().await.unwrap() {
            Event::Step(step) => outer_steps.push(step.outer_step),
            Event::Notice(notice) => revisions.push(notice.revision),
            Event::Lost(_) => lost += 1,
            Event::Over(_) => return (outer_steps, revisions, lost),
        }
    }
}

#[tokio::test]
async fn a_broken_stream_is_resumed_at_the_cursor_and_nothing_is_told_twice() {
    let mut first = vec![event(Wire::Notice(notice(3, v1::JobState::Running)))];
    first.extend(steps(1..=3));
    first.push(Err(Status::unavailable("restarting")));
    // The watcher must skip events that a server sends again.
    let mut second = vec![event(Wire::Notice(notice(3, v1::JobState::Running)))];
    second.extend(steps(2..=4));
    second.push(event(Wire::Notice(notice(5, v1::JobState::Succeeded))));
    let fake = Fake::start(Script {
        watch: [first, second].into(),
        job: job(v1::JobState::Succeeded),
        ..Script::default()
    });
    let seen = watch_all(&fake.url()).await;
    assert_eq!(seen, (vec![1, 2, 3, 4], vec![3, 5], 1));
    assert_eq!(fake.heard(|script| script.cursors.clone()), [(0, 0), (3, 3)]);
}

#[tokio::test]
async fn a_stream_that_ends_before_the_job_does_is_opened_again() {
    let fake = Fake::start(Script {
        watch: [steps(1..=1), steps(2..=2)].into(),
        job: job(v1::JobState::Running),
        ..Script::default()
    });
    let mut watch = Watch::new(Client::connect(&fake.url()).await.unwrap(), "j00000000");
    assert!(matches!(watch.next().await.unwrap(), Event::Step(step) if step.outer_step == 1));
    assert!(matches!(watch.next().await.unwrap(), Event::Lost(_)));
    fake.script.lock().unwrap().job = job(v1::JobState::Succeeded);
    assert!(matches!(watch.next().await.unwrap(), Event::Step(step) if step.outer_step == 2));
    assert!(matches!(watch.next().await.unwrap(), Event::Over(_)));
}

#[tokio::test]
async fn outer_steps_that_an_early_end_left_out_are_asked_for() {
    let over = v1::Job { outer_step: 3, ..job(v1::JobState::Succeeded) };
    let streams = [steps(1..=2), steps(3..=3)];
    let fake = Fake::start(Script { watch: streams.into(), job: over, ..Script::default() });
    let seen = watch_all(&fake.url()).await;
    assert_eq!(seen.0, [1, 2, 3]);
    assert_eq!(fake.heard(|script| script.cursors.clone()), [(0, 0), (0, 2)]);
}

#[tokio::test]
async fn a_coordinator_that_dies_and_comes_back_is_found_again() {
    // The stream stays open after its events until the connection is cut.
    let fake = Fake::start(Script { job: job(v1::JobState::Running), ..Script::default() });
    let (url, address) = (fake.url(), fake.address);
    let mut watch = Watch::new(Client::connect(&url).await.unwrap(), "j00000000");
    let waiting = tokio::spawn(async move { (watch.next().await, watch) });
    while fake.heard(|script| script.cursors.is_empty()) {
        tokio::task::yield_now().await;
    }
    drop(fake);
    let (lost, mut watch) = waiting.await.unwrap();
    assert!(matches!(lost.unwrap(), Event::Lost(_)));
    let script =
        Script { watch: [steps(1..=1)].into(), job: job(v1::JobState::Succeeded), ..Script::default() };
    let _fake = Fake::on(address, script);
    assert!(matches!(watch.next().await.unwrap(), Event::Step(step) if step.outer_step == 1));
    assert!(matches!(watch.next().await.unwrap(), Event::Over(_)));
}

#[tokio::test]
async fn a_refusal_ends_the_watch() {
    let fake = Fake::start(Script {
        watch: [vec![Err(Status::not_found("there is no job j00000000"))]].into(),
        ..Script::default()
    });
    let mut watch = Watch::new(Client::connect(&fake.url()).await.unwrap(), "j00000000");
    let error = watch.next().await.unwrap_err();
    assert_eq!(error.to_string(), "watch: there is no job j00000000");
    assert_eq!(error.exit(), crate::exit::Exit::Refused);
}
