use super::*;

fn job(number: u64) -> JobId {
    JobId::from_entropy(number)
}

fn step(board: &mut Board, number: u64, outer_step: u64) {
    let step = v1::OuterStepMetrics { outer_step, ..v1::OuterStepMetrics::default() };
    board.step_done(&job(number), StepTimeline { outer_step, ..StepTimeline::default() }, step);
}

#[test]
fn of_a_job_the_newest_outer_steps_are_remembered() {
    let mut board = Board::default();
    (1..=20).for_each(|outer_step| step(&mut board, 1, outer_step));
    let remembered: Vec<u64> = board.timelines(&job(1)).iter().map(|timeline| timeline.outer_step).collect();
    assert_eq!(remembered, (13..=20).collect::<Vec<u64>>());
    assert_eq!(board.last_step(&job(1)).unwrap().outer_step, 20);
}

#[test]
fn jobs_that_rest_are_forgotten_before_those_that_run() {
    let mut board = Board::default();
    (1..=JOBS as u64).for_each(|number| step(&mut board, number, 1));
    board.rests(&job(50));
    step(&mut board, 1000, 1);
    assert!(board.last_step(&job(50)).is_none() && board.last_step(&job(1)).is_some());
    step(&mut board, 1001, 1);
    assert!(board.last_step(&job(1)).is_none(), "nobody rests: the one that was silent longest goes");
}

#[test]
fn happenings_are_numbered_and_the_newest_remembered() {
    let mut board = Board::default();
    board.happened(Happening { kind: Kind::WorkerLost, ..Happening::default() });
    (0..300).for_each(|_| board.happened(Happening::default()));
    let numbers: Vec<u64> = board.happenings().into_iter().map(|(number, _)| number).collect();
    let newest = 202..=301;
    assert_eq!(numbers, std::iter::once(1).chain(newest).collect::<Vec<u64>>(), "jobs push out no worker");
}
