use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::data::{self, DataDescription, InMemory, Rows};

/// Ten samples of two values, which identify the sample; counts how often samples are prepared.
struct Counting {
    samples: InMemory,
    prepared: AtomicUsize,
    fails: AtomicBool,
}

impl Counting {
    fn new() -> Arc<Self> {
        let inputs = (0..20).map(|number| (number / 2) as f32).collect();
        let rows = Rows { inputs, targets: vec![0; 10] };
        let samples = InMemory::new(vec![2], 1, rows.clone(), rows).unwrap();
        Arc::new(Self { samples, prepared: AtomicUsize::new(0), fails: AtomicBool::new(false) })
    }

    fn prepared(&self) -> usize {
        self.prepared.load(Ordering::SeqCst)
    }
}

impl Dataset for Counting {
    fn description(&self) -> &DataDescription {
        self.samples.description()
    }

    fn batch(&self, split: Split, samples: &[u64], context: SampleContext) -> Result<data::Batch, DataError> {
        assert!(!self.fails.load(Ordering::SeqCst), "asked to fail");
        self.prepared.fetch_add(1, Ordering::SeqCst);
        self.samples.batch(split, samples, context)
    }
}

fn wanted(batch: u64, samples: &[u64]) -> SampleRequest {
    let part = Part { set: SampleSet::Training, epoch: 0, number: batch };
    SampleRequest { part, samples: samples.to_vec() }
}

fn loader(data: &Arc<Counting>, limit: u64) -> Loader {
    Loader::new(Arc::clone(data) as Arc<dyn Dataset>, 0, limit)
}

fn inputs(batch: &Batch) -> Vec<f32> {
    batch.inputs.flatten_all().unwrap().to_vec1().unwrap()
}

/// Waits until the thread is idle.
fn settle(loader: &Loader) {
    let mut state = loader.shared.state();
    while state.running.is_some() || !state.queue.is_empty() {
        state = state.wait(&loader.shared.changed);
    }
}

#[test]
fn the_gradients_of_a_batch_share_what_was_prepared_once() {
    let data = Counting::new();
    let mut loader = loader(&data, 1 << 20);
    for _ in 0..4 {
        for shard in [[0, 1], [2, 3]] {
            let batch = loader.get(&wanted(0, &shard), None).unwrap();
            assert_eq!(inputs(&batch), [shard[0], shard[0], shard[1], shard[1]].map(|n| n as f32));
        }
    }
    assert_eq!(data.prepared(), 2);
}

#[test]
fn what_was_foreseen_is_ready_when_it_is_asked_for() {
    let data = Counting::new();
    let mut loader = loader(&data, 1 << 20);
    for batch in 0..5 {
        let next = wanted(batch + 1, &[batch + 1]);
        let found = loader.get(&wanted(batch, &[batch]), Some(next)).unwrap();
        assert_eq!(inputs(&found), [batch as f32; 2]);
        settle(&loader);
        assert_eq!(data.prepared() as u64, batch + 2);
    }
}

#[test]
fn a_wrong_guess_costs_nothing_but_its_preparation() {
    let data = Counting::new();
    let mut loader = loader(&data, 1 << 20);
    loader.get(&wanted(0, &[0]), Some(wanted(1, &[1]))).unwrap();
    settle(&loader);
    assert_eq!(inputs(&loader.get(&wanted(7, &[5]), None).unwrap()), [5.0; 2]);
    let state = loader.shared.state();
    assert_eq!(state.ready.len(), 1, "what belongs to other batches is forgotten");
}

#[test]
fn samples_of_both_splits_are_kept_apart() {
    let data = Counting::new();
    let mut loader = loader(&data, 1 << 20);
    let test = |number| SampleRequest {
        part: Part { set: SampleSet::Tested(TestSet::Test), epoch: 0, number },
        samples: vec![number],
    };
    loader.get(&wanted(0, &[0]), Some(wanted(1, &[1]))).unwrap();
    settle(&loader);
    for piece in 0..3 {
        loader.get(&test(piece), Some(test(piece + 1))).unwrap();
    }
    settle(&loader);
    let before = data.prepared();
    loader.get(&wanted(1, &[1]), None).unwrap();
    assert_eq!(data.prepared(), before);
}

#[test]
fn what_does_not_fit_is_prepared_each_time() {
    let data = Counting::new();
    let mut loader = loader(&data, 16);
    for _ in 0..2 {
        loader.get(&wanted(0, &[0, 1]), Some(wanted(1, &[2]))).unwrap();
        loader.get(&wanted(0, &[3]), None).unwrap();
        settle(&loader);
    }
    let state = loader.shared.state();
    let kept: usize = state.ready.iter().map(|(_, batch)| batch.inputs.elem_count() * 4).sum();
    assert!(kept <= 16);
    drop(state);
    assert!(data.prepared() >= 3);
}

#[test]
fn failures_reach_only_the_caller_that_asks() {
    let data = Counting::new();
    let mut loader = loader(&data, 1 << 20);
    loader.get(&wanted(0, &[0]), Some(wanted(1, &[99]))).unwrap();
    settle(&loader);
    assert!(matches!(loader.get(&wanted(1, &[99]), None), Err(DataError::NoSuchSample { sample: 99, .. })));
    // A data set that panics on the loader's thread leaves the loader usable.
    loader.get(&wanted(2, &[2]), None).unwrap();
    data.fails.store(true, Ordering::SeqCst);
    loader.get(&wanted(2, &[2]), Some(wanted(3, &[3]))).unwrap();
    settle(&loader);
    data.fails.store(false, Ordering::SeqCst);
    assert_eq!(inputs(&loader.get(&wanted(3, &[3]), None).unwrap()), [3.0; 2]);
}

#[test]
fn a_shard_that_the_next_batch_lacks_leaves_that_batchs_others_ready() {
    let data = Counting::new();
    let mut loader = loader(&data, 1 << 20);
    loader.get(&wanted(0, &[0]), Some(wanted(1, &[4]))).unwrap();
    loader.get(&wanted(0, &[1]), Some(wanted(1, &[]))).unwrap();
    settle(&loader);
    let before = data.prepared();
    assert_eq!(before, 3);
    loader.get(&wanted(1, &[4]), None).unwrap();
    assert_eq!(data.prepared(), before);
}
