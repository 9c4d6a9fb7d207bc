//! Tests of how outer steps use the batches of epochs.

use proptest::prelude::*;

use super::*;
use crate::reduction::{effective_shards, shard_range};

fn plan(samples: u64, batch_size: u64, drop_last: bool, batches: u64, length: Length) -> Plan {
    Plan::new(samples, batch_size, drop_last, batches, length).expect("a possible plan")
}

#[test]
fn the_last_batch_of_an_epoch_holds_what_is_left() {
    let plan = plan(10, 4, false, 1, Length::Epochs(1));
    assert_eq!((0..3).map(|batch| plan.batch_samples(batch)).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!((plan.batches_per_epoch(), plan.outer_steps), (3, 3));
}

#[test]
fn the_last_smaller_batch_can_be_left_out() {
    let plan = plan(10, 4, true, 1, Length::Epochs(2));
    assert_eq!((plan.batches_per_epoch(), plan.outer_steps), (2, 4));
}

#[test]
fn an_epochs_last_outer_step_takes_the_batches_that_are_left() {
    let plan = plan(70, 10, false, 3, Length::Epochs(2));
    let mut position = Position::default();
    let taken: Vec<(u64, u64, u64)> = (0..plan.outer_steps)
        .map(|_| {
            let here = position;
            position = plan.after(position);
            (here.epoch, here.batch, plan.batches_at(here))
        })
        .collect();
    assert_eq!(taken, [(0, 0, 3), (0, 3, 3), (0, 6, 1), (1, 0, 3), (1, 3, 3), (1, 6, 1)]);
    assert_eq!(position, Position { outer_step: 6, epoch: 2, batch: 0 });
}

#[test]
fn steps_may_end_within_an_epoch() {
    let plan = plan(70, 10, false, 1, Length::Steps(9));
    assert_eq!(plan.outer_steps, 9);
    assert_eq!(plan.position(9), Position { outer_step: 9, epoch: 1, batch: 2 });
}

#[test]
fn plans_without_a_batch_or_beyond_counting_are_none() {
    assert_eq!(Plan::new(0, 4, false, 1, Length::Epochs(1)), None);
    assert_eq!(Plan::new(3, 4, true, 1, Length::Epochs(1)), None);
    assert_eq!(Plan::new(3, 0, false, 1, Length::Epochs(1)), None);
    assert_eq!(Plan::new(3, 4, false, 0, Length::Epochs(1)), None);
    assert_eq!(Plan::new(30, 4, false, 1, Length::Epochs(u64::MAX)), None);
}

proptest! {
    #[test]
    fn outer_steps_take_each_batch_of_each_epoch_once(
        samples in 1_u64..500, batch_size in 1_u64..50, drop_last: bool, batches in 1_u64..6, epochs in 1_u64..4,
    ) {
        let Some(plan) = Plan::new(samples, batch_size, drop_last, batches, Length::Epochs(epochs)) else {
            prop_assert!(drop_last && samples < batch_size);
            return Ok(());
        };
        let mut position = Position::default();
        let mut taken = Vec::new();
        for outer_step in 0..plan.outer_steps {
            prop_assert_eq!(position, plan.position(outer_step));
            taken.extend((0..plan.batches_at(position)).map(|batch| (position.epoch, position.batch + batch)));
            position = plan.after(position);
        }
        let all = (0..epochs).flat_map(|epoch| (0..plan.batches_per_epoch()).map(move |batch| (epoch, batch)));
        prop_assert_eq!(taken, all.collect::<Vec<_>>());
        let used: u64 = (0..plan.batches_per_epoch()).map(|batch| plan.batch_samples(batch)).sum();
        prop_assert_eq!(used, if drop_last { samples - samples % batch_size } else { samples });
    }

    #[test]
    fn every_sample_is_used_exactly_once_in_an_epoch(
        (samples, batch_size, shards) in (1_u64..400, 1_u64..60, 1_u32..20),
        (drop_last, shuffle) in any::<(bool, bool)>(),
        batches in 1_u64..6,
        (seed, epochs) in (any::<u64>(), 1_u64..4),
    ) {
        let Some(plan) = Plan::new(samples, batch_size, drop_last, batches, Length::Epochs(epochs)) else {
            return Ok(());
        };
        let mut used = vec![Vec::new(); epochs as usize];
        let mut position = Position::default();
        for _ in 0..plan.outer_steps {
            let order = epoch_order(seed, position.epoch, samples, shuffle);
            for batch in position.batch..position.batch + plan.batches_at(position) {
                let held = plan.batch_samples(batch);
                let shards = effective_shards(held, shards);
                let ranges = (0..shards).map(|shard| shard_range(held, shards, shard));
                let first = batch * batch_size;
                let samples = ranges.flatten().map(|sample| order[(first + sample) as usize]);
                used[position.epoch as usize].extend(samples);
            }
            let next = plan.after(position);
            prop_assert!(next.outer_step == position.outer_step + 1);
            prop_assert!((next.epoch, next.batch) > (position.epoch, position.batch), "positions rise");
            position = next;
        }
        for (epoch, used) in (0..).zip(&mut used) {
            // With `drop_last`, the samples of a smaller last batch are left out.
            let taken = if drop_last { samples - samples % batch_size } else { samples };
            let mut expected = epoch_order(seed, epoch, samples, shuffle);
            expected.truncate(taken as usize);
            expected.sort_unstable();
            used.sort_unstable();
            prop_assert_eq!(used, &mut expected);
        }
    }

    #[test]
    fn an_order_follows_from_seed_and_epoch_alone(
        (seed, other) in (any::<u64>(), any::<u64>()), (epoch, later) in (0..1000_u64, 0..1000_u64),
        samples in 30_u64..300,
    ) {
        let order = epoch_order(seed, epoch, samples, true);
        // 30 samples have more orders than there are seeds: two equal orders are no coincidence.
        prop_assert_eq!(order == epoch_order(other, epoch, samples, true), seed == other);
        prop_assert_eq!(order == epoch_order(seed, later, samples, true), epoch == later);
    }

    #[test]
    fn an_order_holds_every_sample_once(seed: u64, epoch in 0_u64..9, samples in 0_u64..300, shuffle: bool) {
        let mut order = epoch_order(seed, epoch, samples, shuffle);
        prop_assert_eq!(&order, &epoch_order(seed, epoch, samples, shuffle));
        order.sort_unstable();
        prop_assert_eq!(order, (0..samples).collect::<Vec<_>>());
    }
}

#[test]
fn orders_are_keyed_by_seed_and_epoch() {
    let order = epoch_order(1, 0, 100, true);
    assert_ne!(order, epoch_order(2, 0, 100, true));
    assert_ne!(order, epoch_order(1, 1, 100, true));
    assert_ne!(order, epoch_order(1, 0, 100, false));
}

#[test]
fn data_that_is_not_shuffled_keeps_its_own_order() {
    assert_eq!(epoch_order(7, 3, 5, false), [0, 1, 2, 3, 4]);
}

#[test]
fn orders_are_the_same_in_every_build() {
    assert_eq!(epoch_order(42, 3, 10, true), [0, 4, 2, 7, 1, 6, 5, 8, 9, 3]);
}
