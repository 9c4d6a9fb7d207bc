use super::*;

fn job(number: u64) -> JobId {
    JobId::from_entropy(number)
}

fn step(activity: &mut Activity, number: u64, outer_step: u64) {
    let step = v1::OuterStepMetrics { outer_step, ..v1::OuterStepMetrics::default() };
    activity.step_done(&job(number), StepTimeline { outer_step, ..StepTimeline::default() }, step);
}

#[test]
fn of_a_job_the_newest_outer_steps_are_remembered() {
    let mut activity = Activity::default();
    (1..=20).for_each(|outer_step| step(&mut activity, 1, outer_step));
    let remembered: Vec<u64> =
        activity.timelines(&job(1)).iter().map(|timeline| timeline.outer_step).collect();
    assert_eq!(remembered, (13..=20).collect::<Vec<u64>>());
    assert_eq!(activity.last_step(&job(1)).unwrap().outer_step, 20);
}

#[test]
fn jobs_that_rest_are_forgotten_before_those_that_run() {
    let mut activity = Activity::default();
    (1..=JOBS as u64).for_each(|number| step(&mut activity, number, 1));
    activity.set_idle(&job(50));
    step(&mut activity, 1000, 1);
    assert!(activity.last_step(&job(50)).is_none() && activity.last_step(&job(1)).is_some());
    step(&mut activity, 1001, 1);
    assert!(
        activity.last_step(&job(1)).is_none(),
        "no job is idle: the one that was silent longest is removed"
    );
}

#[test]
fn happenings_are_numbered_and_the_newest_remembered() {
    let mut activity = Activity::default();
    activity.record(ClusterEvent { kind: ClusterEventKind::WorkerLost, ..ClusterEvent::default() });
    (0..300).for_each(|_| activity.record(ClusterEvent::default()));
    let numbers: Vec<u64> = activity.events().into_iter().map(|(number, _)| number).collect();
    let newest = 202..=301;
    assert_eq!(numbers, std::iter::once(1).chain(newest).collect::<Vec<u64>>(), "jobs push out no worker");
}
