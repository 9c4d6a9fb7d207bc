//! Statistics of repeated results, and of paired differences.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Share of the intervals of a paired difference that hold the true one.
const CONFIDENCE: f64 = 0.95;

/// How repeated results are spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many there are.
    pub n: u64,
    /// Their mean.
    pub mean: f64,
    /// Sample standard deviation; `None` for fewer than two.
    pub std: Option<f64>,
    /// The least.
    pub min: f64,
    /// The fifth percentile.
    pub p5: f64,
}

impl Spread {
    /// The spread of some results, `None` if there are none. Not a number if one of them is not.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let std = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        Some(Self {
            n: values.len() as u64,
            mean,
            std,
            min: quantile(values, 0.0),
            p5: quantile(values, 0.05),
        })
    }
}

/// A quantile, interpolated linearly between the two nearest values; not a number without values or if one is not.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len() as f64 - 1.0);
    match (sorted.get(place as usize), sorted.get(place.ceil() as usize)) {
        _ if values.iter().any(|value| value.is_nan()) => f64::NAN,
        (Some(below), Some(above)) => below + (above - below) * place.fract(),
        _ => f64::NAN,
    }
}

/// A difference to a baseline over pairs, such as equal seeds or equal draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Number of pairs.
    pub n: u64,
    /// Mean difference.
    pub mean: f64,
    /// Sample standard deviation of the differences; `None` for fewer than two pairs, like everything below.
    pub std: Option<f64>,
    /// Half the width of the 95 % interval of this comparison alone, by Student's t.
    pub half_width: Option<f64>,
    /// The same at Holm's level, which holds for all comparisons together.
    pub holm_half_width: Option<f64>,
    /// Two-sided p-value of the paired t-test that there is no difference.
    pub p: Option<f64>,
    /// The same, adjusted by Holm's method for all comparisons.
    pub holm_p: Option<f64>,
}

impl Difference {
    /// Of one comparison alone; `None` if there is no pair, or a difference is not finite.
    fn of(differences: &[f64]) -> Option<Self> {
        // Student's distribution is not defined there.
        if differences.iter().any(|difference| !difference.is_finite()) {
            return None;
        }
        let Spread { n, mean, std, .. } = Spread::of(differences)?;
        let alone = Self { n, mean, std, half_width: None, holm_half_width: None, p: None, holm_p: None };
        Some(Self { half_width: alone.half_width_at(1.0 - CONFIDENCE), p: alone.p_value(), ..alone })
    }

    /// Half the width of the interval that misses the true difference with a probability.
    fn half_width_at(&self, probability: f64) -> Option<f64> {
        Some(self.student()?.inverse_cdf(1.0 - probability / 2.0) * self.error()?)
    }

    fn p_value(&self) -> Option<f64> {
        match (self.error()?, self.mean) {
            (0.0, 0.0) => Some(1.0),
            (0.0, _) => Some(0.0),
            (error, mean) => Some(2.0 * self.student()?.sf((mean / error).abs())),
        }
    }

    /// Standard error of the mean.
    fn error(&self) -> Option<f64> {
        Some(self.std? / (self.n as f64).sqrt())
    }

    fn student(&self) -> Option<StudentsT> {
        StudentsT::new(0.0, 1.0, self.n as f64 - 1.0).ok()
    }
}

/// The differences of several comparisons, each given by those of its pairs. `None` where there is no pair, or a difference
/// is not finite: that comparison does not count among the others.
pub fn differences(comparisons: &[Vec<f64>]) -> Vec<Option<Difference>> {
    let mut found: Vec<Option<Difference>> = comparisons.iter().map(|pairs| Difference::of(pairs)).collect();
    // Holm (1979): the smallest p-value is tested at α / m, the next at α / (m − 1), and so on.
    let mut tested: Vec<(f64, &mut Difference)> =
        found.iter_mut().flatten().filter_map(|difference| Some((difference.p?, difference))).collect();
    tested.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (all, mut least) = (tested.len(), 0.0_f64);
    for (rank, (p, difference)) in tested.into_iter().enumerate() {
        let left = (all - rank) as f64;
        least = least.max((p * left).min(1.0));
        difference.holm_p = Some(least);
        difference.holm_half_width = difference.half_width_at((1.0 - CONFIDENCE) / left);
    }
    found
}

#[cfg(test)]
mod tests;
