use std::collections::HashSet;
use std::sync::Mutex;

use super::*;

fn schedule(threads: usize, limit: u64) -> Schedule {
    let mut schedule = Schedule::new(threads).unwrap();
    schedule.allow_side_by_side(limit).unwrap();
    schedule
}

#[test]
fn results_are_in_the_order_of_the_inputs_whichever_way_they_are_computed() {
    let mut schedule = schedule(3, 3);
    for inputs in [1, 2, 3, 7, 3, 3, 3, 3, 3, 3, 3].map(|count| (0..count).collect::<Vec<u64>>()) {
        let expected: Vec<u64> = inputs.iter().map(|input| input * input).collect();
        assert_eq!(schedule.run(inputs, |input| input * input), expected);
    }
}

#[test]
fn both_ways_are_tried_and_the_faster_one_stays() {
    let mut schedule = schedule(2, 2);
    let mut ways = Vec::new();
    for _ in 0..2 * TRIALS {
        ways.push(schedule.choice());
        schedule.run(vec![(), ()], |()| ());
    }
    assert_eq!(ways, [0, 0, 0, 1, 1, 1]);
    for faster in [0, 1] {
        for (number, way) in schedule.ways.iter_mut().enumerate() {
            way.best = Duration::from_secs(if number == faster { 1 } else { 2 });
        }
        assert_eq!(schedule.choice(), faster);
    }
}

#[test]
fn side_by_side_each_shard_has_a_thread_of_its_own() {
    let mut schedule = schedule(2, 2);
    schedule.ways.remove(0);
    let together = std::sync::Barrier::new(2);
    let threads = Mutex::new(HashSet::new());
    schedule.run(vec![(), ()], |()| {
        // Neither continues before both have begun.
        together.wait();
        threads.lock().unwrap().insert(std::thread::current().id());
        assert_eq!(rayon::current_num_threads(), 1);
    });
    assert_eq!(threads.into_inner().unwrap().len(), 2);
}

#[test]
fn shards_that_do_not_fit_into_memory_together_are_computed_one_after_the_other() {
    assert_eq!(schedule(4, 3).ways.len(), 1);
    assert_eq!(schedule(4, 4).ways.len(), 2);
    assert_eq!(schedule(1, 9).ways.len(), 1);
}

#[test]
fn a_panic_in_one_shard_reaches_the_caller() {
    let mut schedule = schedule(2, 2);
    schedule.ways.remove(0);
    let run = std::panic::AssertUnwindSafe(|| schedule.run(vec![1, 2], |input| assert_eq!(input, 1, "no")));
    assert!(std::panic::catch_unwind(run).is_err());
}
