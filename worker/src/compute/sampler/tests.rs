use lookbehind_common::reduction::shard_range;

use super::*;
use crate::test_support::job;

fn sampler(data: &str, train: &str, samples: u64) -> Result<Sampler, JobError> {
    let data = format!("kind = \"digits\"\n{data}");
    Sampler::new(&job("kind = \"mlp\"", &data, train), samples, [10, 3, 0, 0])
}

fn request(epoch: u64, batch: u64, shards: u32) -> Request {
    Request { kind: RequestKind::Gradient, epoch, batch, shards }
}

#[test]
fn an_epochs_shards_hold_every_sample_once_in_the_epochs_order() {
    let mut sampler = sampler("shuffle = true", "epochs = 2\nbatch_size = 10\nshards = 4", 25).unwrap();
    for epoch in [0, 1, 0] {
        let mut seen = Vec::new();
        for (batch, size) in [(0, 10), (1, 10), (2, 5)] {
            for shard in 0..4 {
                let found = sampler.batch_shard(&request(epoch, batch, 4), shard).unwrap();
                assert_eq!(found.batch_samples, size);
                let range = shard_range(size, 4, shard);
                assert_eq!(found.samples.len() as u64, range.end - range.start);
                seen.extend_from_slice(&found.samples);
            }
        }
        assert_eq!(seen, epoch_order(7, epoch, 25, true));
    }
}

#[test]
fn without_shuffling_samples_keep_their_own_order() {
    let mut sampler = sampler("shuffle = false", "epochs = 2\nbatch_size = 10\nshards = 2", 25).unwrap();
    assert_eq!(sampler.batch_shard(&request(5, 1, 2), 1).unwrap().samples, [15, 16, 17, 18, 19]);
}

#[test]
fn a_batch_smaller_than_its_shards_has_one_sample_in_each() {
    let mut sampler = sampler("shuffle = false", "epochs = 1\nbatch_size = 10\nshards = 8", 13).unwrap();
    assert_eq!(sampler.batch_shard(&request(0, 1, 8), 2).unwrap().samples, [12]);
    let error = sampler.batch_shard(&request(0, 1, 8), 3).err().unwrap();
    assert_eq!(error.to_string(), "shard 3: the request has 3 shards");
}

#[test]
fn request_beyond_the_job_is_refused() {
    let mut sampler = sampler("drop_last = true", "epochs = 1\nbatch_size = 10\nshards = 4", 25).unwrap();
    let error = |result: Result<BatchShard, ComputeError>| result.err().unwrap().to_string();
    assert_eq!(error(sampler.batch_shard(&request(0, 2, 4), 0)), "batch 2: an epoch has 2 batches");
    assert_eq!(
        error(sampler.batch_shard(&request(0, u64::MAX, 4), 0)),
        "batch 18446744073709551615: an epoch has 2 batches"
    );
    assert_eq!(error(sampler.batch_shard(&request(0, 0, 4), 4)), "shard 4: the request has 4 shards");
    assert_eq!(error(sampler.batch_shard(&request(0, 0, 0), 0)), "shard 0: the request has 0 shards");
    assert!(sampler.test_shard(TestSet::Test, &request(0, 0, 4), 4).is_err());
}

#[test]
fn the_test_split_is_cut_as_a_batch_is() {
    let sampler = sampler("", "epochs = 1\nbatch_size = 10\nshards = 4", 25).unwrap();
    let ranges: Vec<_> =
        (0..4).map(|shard| sampler.test_shard(TestSet::Test, &request(0, 0, 4), shard).unwrap()).collect();
    assert_eq!(ranges, [0..3, 3..6, 6..8, 8..10]);
}

#[test]
fn all_sizes_of_shards_are_found_once() {
    let sizes = |train: &str, samples| {
        let mut sampler = sampler("", train, samples).unwrap();
        let found = sampler.shard_sizes();
        let sizes: Vec<usize> = found
            .iter()
            .map(|(request, shard)| sampler.batch_shard(request, *shard).unwrap().samples.len())
            .collect();
        (sizes, sampler.largest_shard())
    };
    assert_eq!(sizes("epochs = 1\nbatch_size = 10\nshards = 4", 27), (vec![3, 2, 1], 3));
    assert_eq!(sizes("epochs = 1\nbatch_size = 8\nshards = 4", 16), (vec![2], 2));
    assert_eq!(sizes("epochs = 1\nbatch_size = 100\nshards = 4", 10), (vec![3, 2], 3));
    assert_eq!(sizes("epochs = 1\nbatch_size = 8\nshards = 4", 10), (vec![2, 1], 2));
}

#[test]
fn a_job_without_a_batch_is_refused() {
    let error = sampler("drop_last = true", "epochs = 1\nbatch_size = 26", 25).err().unwrap();
    assert_eq!(
        error.to_string(),
        "train.batch_size: expected at most the training split's 25 samples with data.drop_last, found 26"
    );
}

#[test]
fn batches_follow_each_other_into_the_next_epoch() {
    let mut sampler = sampler("shuffle = true", "epochs = 2\nbatch_size = 10", 25).unwrap();
    let first = request(0, 1, 2);
    let second = sampler.following(&first);
    assert_eq!(second, request(0, 2, 2));
    let third = sampler.following(&second);
    assert_eq!(third, request(1, 0, 2));
    // The orders of both epochs stay cached.
    let samples = |sampler: &mut Sampler, request: &Request| sampler.batch_shard(request, 0).unwrap().samples;
    let (before, after) = (samples(&mut sampler, &second), samples(&mut sampler, &third));
    assert_eq!(before, epoch_order(7, 0, 25, true)[20..23]);
    assert_eq!(after, epoch_order(7, 1, 25, true)[..5]);
    assert_eq!(samples(&mut sampler, &second), before);
    assert_eq!(sampler.orders.len(), 2);
    samples(&mut sampler, &request(2, 0, 2));
    assert_eq!(sampler.orders.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [1, 2]);
}
