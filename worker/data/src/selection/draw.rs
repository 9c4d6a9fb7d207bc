//! Keyed, stratified draws: as many samples of each class as its share says.

use lookbehind_common::job::JobError;
use lookbehind_common::random::{Key, Purpose};

use super::Sample;

/// Uses of draws. Each has its own stream, so that one does not change the others.
#[derive(Clone, Copy)]
pub(super) enum Use {
    Resplit = 1,
    Limit = 2,
    Validation = 3,
}

/// The number of samples that a key asks for: a share of `samples` if it is below 1, else a number below `samples`.
pub(super) fn amount(path: &str, wanted: f64, samples: usize) -> Result<usize, JobError> {
    let count = if wanted < 1.0 { (wanted * samples as f64).round() } else { wanted };
    if count >= 1.0 && count < samples as f64 {
        return Ok(count as usize);
    }
    let most = samples.saturating_sub(1);
    Err(JobError::new(path, &format!("expected 1 to {most} samples of those that are there, found {count}")))
}

/// Draws `count` samples; returns them and the others, both in the order of the data set.
pub(super) fn divide(
    samples: Vec<Sample>,
    count: usize,
    seed: u64,
    used_for: Use,
) -> (Vec<Sample>, Vec<Sample>) {
    let classes = samples.iter().map(|sample| sample.class as usize + 1).max().unwrap_or(0);
    let mut strata: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (place, sample) in samples.iter().enumerate() {
        strata[sample.class as usize].push(place);
    }
    let quotas = quotas(&strata.iter().map(Vec::len).collect::<Vec<_>>(), count);
    let mut drawn = vec![false; samples.len()];
    for (class, (mut stratum, quota)) in strata.into_iter().zip(quotas).enumerate() {
        let key = Key::new(seed, Purpose::Selection);
        Key { layer: used_for as u32, batch: class as u64, ..key }.stream().shuffle(&mut stratum);
        stratum.iter().take(quota).for_each(|&place| drawn[place] = true);
    }
    let (drawn, others): (Vec<_>, Vec<_>) = samples.into_iter().zip(drawn).partition(|(_, drawn)| *drawn);
    let only = |pairs: Vec<(Sample, bool)>| pairs.into_iter().map(|(sample, _)| sample).collect();
    (only(drawn), only(others))
}

/// How many of `count` samples each class gets, by the method of the largest remainder; of equal remainders the first.
/// `count` is at most the number of all samples.
fn quotas(sizes: &[usize], count: usize) -> Vec<usize> {
    let all = sizes.iter().sum::<usize>().max(1) as u128;
    let exact = |size: usize| size as u128 * count as u128;
    let mut quotas: Vec<usize> = sizes.iter().map(|&size| (exact(size) / all) as usize).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&class| std::cmp::Reverse(exact(sizes[class]) % all));
    let missing = count - quotas.iter().sum::<usize>();
    by_remainder.into_iter().take(missing).for_each(|class| quotas[class] += 1);
    quotas
}
