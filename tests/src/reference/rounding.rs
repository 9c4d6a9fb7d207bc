//! The rounding of gradients to bf16, where they are formed.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Values;
use super::base::each;

/// How far the value of a gradient in f32 may be from the one in f64, relative to the largest of its tensor.
const F32: f64 = 1e-5;

/// Gradients of shards as a service rounded them, by the first sample of the shard and the one past its last. Tensors are
/// in the order of the reference.
///
/// A value next to the middle of two of bf16 may be rounded one way in f32 and the other in f64. Both are right, but one
/// step of bf16 is 1/256 of a value, and such differences grow. So the reference, which rounds by itself, takes the
/// service's value where that one is right as well: where it is a value of bf16, and the nearest one for a value as close to
/// the reference's as f32 is.
pub type Seen = BTreeMap<(usize, usize), Vec<Values>>;

/// Whether and how the gradients of shards and all sums of them are rounded.
pub(super) struct Rounding {
    /// To bf16; `false` leaves them as they are.
    pub(super) rounds: bool,
    pub(super) seen: Seen,
}

impl Rounding {
    /// The gradient that a shard contributes.
    pub(super) fn of_shard(&self, gradient: Values, shard: &Range<usize>) -> Values {
        let nearest = self.nearest_seen(&gradient, shard);
        let mut rounded = self.of_sum(gradient.clone());
        for ((rounded, exact), seen) in rounded.iter_mut().zip(&gradient).zip(nearest.into_iter().flatten()) {
            let slack = F32 * exact.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
            for ((rounded, exact), seen) in rounded.iter_mut().zip(exact).zip(seen) {
                let is_right = (seen - exact).abs() <= step(*exact) / 2.0 + slack;
                if is_right && nearest_bf16(*seen) == *seen {
                    *rounded = *seen;
                }
            }
        }
        rounded
    }

    /// The gradient of this shard that was seen at weights closest to those of `gradient`: others are far away.
    fn nearest_seen(&self, gradient: &Values, shard: &Range<usize>) -> Option<&Values> {
        let seen = self.seen.get(&(shard.start, shard.end)).filter(|_| self.rounds)?;
        let distance = |other: &&Values| -> f64 {
            other.iter().flatten().zip(gradient.iter().flatten()).map(|(a, b)| (a - b) * (a - b)).sum()
        };
        seen.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }

    /// A sum of gradients.
    fn of_sum(&self, mut gradient: Values) -> Values {
        if self.rounds {
            gradient.iter_mut().flatten().for_each(|g| *g = nearest_bf16(*g));
        }
        gradient
    }

    /// The sum along the reduction tree: the left part has as many shards as the largest power of two below all of them.
    pub(super) fn tree(&self, shards: &[Values]) -> Values {
        if let [shard] = shards {
            return shard.clone();
        }
        let (left, right) = shards.split_at(shards.len().next_power_of_two() / 2);
        let mut sum = self.tree(left);
        each(&mut sum, &self.tree(right), |left, right| left + right);
        self.of_sum(sum)
    }
}

/// The distance of two neighbours in bf16 of this size: 8 significant bits. Below the smallest normal number it stays as it
/// is there.
fn step(value: f64) -> f64 {
    2_f64.powf(value.abs().log2().floor().max(-126.0) - 7.0)
}

/// The value of bf16 that is nearest, ties to even.
fn nearest_bf16(value: f64) -> f64 {
    if value == 0.0 { value } else { (value / step(value)).round_ties_even() * step(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient of one value, and what it is rounded to if a service has rounded it to `seen`.
    fn beside(value: f64, seen: f64) -> f64 {
        // The largest value of the tensor, with which the error of f32 is compared.
        let tensor = |value| vec![vec![value, 1.0]];
        let seen = Seen::from([((0, 4), vec![tensor(seen), vec![vec![9.0, 9.0]]])]);
        Rounding { rounds: true, seen }.of_shard(tensor(value), &(0..4))[0][0]
    }

    #[test]
    fn what_was_seen_counts_only_where_it_is_right_as_well() {
        let (lower, upper) = (0.5, 0.5 + 1.0 / 256.0);
        let middle = f64::midpoint(lower, upper);
        for seen in [lower, upper] {
            assert_eq!(beside(middle + 1e-7, seen), seen, "either is nearest for a value as close as f32 is");
        }
        assert_eq!(beside(middle + 1e-4, lower), upper, "rounded the wrong way");
        assert_eq!(beside(middle - 1e-4, upper), lower, "rounded the wrong way");
        assert_eq!(beside(lower, lower + 1e-6), lower, "not rounded at all");
        assert_eq!(beside(lower, 0.0), lower, "another value");
    }

    #[test]
    fn without_rounding_nothing_seen_counts() {
        let seen = Seen::from([((0, 4), vec![vec![vec![0.5]]])]);
        assert_eq!(
            Rounding { rounds: false, seen }.of_shard(vec![vec![0.5 + 1e-6]], &(0..4)),
            [[0.5 + 1e-6]]
        );
    }
}
