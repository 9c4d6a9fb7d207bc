//! Means, paired differences and their intervals.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Confidence of the intervals.
const CONFIDENCE: f64 = 0.95;

/// Mean and sample standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Number of values.
    pub n: usize,
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation; `None` for fewer than two values.
    pub std: Option<f64>,
}

impl Spread {
    /// Of some values; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        Some(Self { n, mean, std })
    }

    /// Half the width of the t-interval of the mean at a level; `None` for fewer than two values.
    fn half_width(&self, alpha: f64) -> Option<f64> {
        let std = self.std?;
        let quantile = student(self.n)?.inverse_cdf(1.0 - alpha / 2.0);
        Some(quantile * std / (self.n as f64).sqrt())
    }

    /// Two-sided p-value of the t-test that the mean is 0.
    fn p(&self) -> Option<f64> {
        let std = self.std?;
        if std == 0.0 {
            return Some(if self.mean == 0.0 { 1.0 } else { 0.0 });
        }
        let t = self.mean.abs() / (std / (self.n as f64).sqrt());
        Some(2.0 * student(self.n)?.sf(t))
    }
}

fn student(n: usize) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()
}

/// A difference to the baseline over pairs of equal seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Number of pairs, mean and standard deviation of their differences.
    #[serde(flatten)]
    pub spread: Spread,
    /// Half the width of the 95 % t-interval of this comparison alone; `None` for fewer than two pairs.
    pub half_width: Option<f64>,
    /// The same with Holm's level, which holds for all comparisons of the table together.
    pub holm_half_width: Option<f64>,
    /// Two-sided p-value of the paired t-test.
    pub p: Option<f64>,
    /// The same, adjusted by Holm for all comparisons of the table.
    pub holm_p: Option<f64>,
}

/// The differences of several comparisons with one baseline. `None` where there is no pair.
pub fn differences(pairs: &[Vec<f64>]) -> Vec<Option<Difference>> {
    let alpha = 1.0 - CONFIDENCE;
    let of = |pairs: &Vec<f64>| {
        Spread::of(pairs).map(|spread| Difference {
            spread,
            half_width: spread.half_width(alpha),
            holm_half_width: None,
            p: spread.p(),
            holm_p: None,
        })
    };
    let mut found: Vec<Option<Difference>> = pairs.iter().map(of).collect();
    // Holm (1979): the smallest p-value is tested at α / m, the next at α / (m − 1), and so on.
    let mut tested: Vec<(f64, &mut Difference)> =
        found.iter_mut().flatten().filter_map(|difference| Some((difference.p?, difference))).collect();
    tested.sort_by(|one, other| one.0.total_cmp(&other.0));
    let all = tested.len();
    let mut before: f64 = 0.0;
    for (rank, (p, difference)) in tested.into_iter().enumerate() {
        let left = (all - rank) as f64;
        before = before.max((p * left).min(1.0));
        difference.holm_p = Some(before);
        difference.holm_half_width = difference.spread.half_width(alpha / left);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-4 * expected.abs().max(1e-3)
    }

    /// Expected values from the formulas, with the quantile and the tail of Student's distribution by numerical integration.
    #[test]
    fn a_paired_difference_has_the_interval_and_p_value_of_the_t_test() {
        let pairs = vec![vec![0.5, 1.0, 1.5, 2.0, 0.25]];
        let found = differences(&pairs)[0].unwrap();
        assert!(near(found.spread.mean, 1.05) && near(found.spread.std.unwrap(), 0.715_891), "{found:?}");
        assert!(near(found.half_width.unwrap(), 0.888_897), "{found:?}");
        assert!(near(found.p.unwrap(), 0.030_511), "{found:?}");
        assert_eq!((found.holm_p, found.holm_half_width), (found.p, found.half_width));
    }

    #[test]
    fn holm_widens_all_but_the_last_comparison() {
        let clear = vec![1.0, 1.1, 0.9, 1.05];
        let weak = vec![1.0, -0.5, 0.75, 0.2];
        let found: Vec<Difference> = differences(&[weak, clear]).into_iter().flatten().collect();
        assert_eq!(found[0].holm_p, found[0].p);
        assert!(near(found[1].holm_p.unwrap(), 2.0 * found[1].p.unwrap()));
        assert!(found[1].holm_half_width > found[1].half_width);
        assert_eq!(found[0].holm_half_width, found[0].half_width);
    }

    #[test]
    fn one_pair_has_no_interval_and_no_pair_nothing() {
        let found = differences(&[vec![1.0], vec![]]);
        assert_eq!(found[0].map(|difference| (difference.half_width, difference.p)), Some((None, None)));
        assert_eq!(found[1], None);
    }
}
