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
    /// Sample standard deviation; 0 for a single one.
    pub std: f64,
    /// The least.
    pub min: f64,
    /// The fifth percentile.
    pub p5: f64,
}

impl Spread {
    /// The spread of some results, at least one. Not a number if one of them is not.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let std = if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
        Self { n: values.len() as u64, mean, std, min: quantile(values, 0.0), p5: quantile(values, 0.05) }
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

/// The mean of paired differences with its 95 % interval by Student's t, and the probability of one as far from zero
/// if there were none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// How many pairs there are.
    pub n: u64,
    /// Mean difference.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Two-sided p value.
    pub p: f64,
}

impl Interval {
    /// The interval of differences; `None` for fewer than two, or if one is not finite.
    pub fn of(differences: &[f64]) -> Option<Self> {
        if differences.len() < 2 || differences.iter().any(|difference| !difference.is_finite()) {
            return None;
        }
        let Spread { n, mean, std, .. } = Spread::of(differences);
        let freedom = (n - 1) as f64;
        let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
        let error = std / (n as f64).sqrt();
        let half = student.inverse_cdf(0.5 + CONFIDENCE / 2.0) * error;
        let p = match (error > 0.0, mean == 0.0) {
            (true, _) => 2.0 * student.cdf(-(mean / error).abs()),
            (false, true) => 1.0,
            (false, false) => 0.0,
        };
        Some(Self { n, mean, low: mean - half, high: mean + half, p })
    }
}

/// The p values of several comparisons, adjusted by Holm's method (1979), in their order.
pub fn holm(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&left, &right| values[left].total_cmp(&values[right]));
    let (mut adjusted, mut least) = (vec![0.0; values.len()], 0.0_f64);
    for (rank, place) in order.into_iter().enumerate() {
        let factor = (values.len() - rank) as f64;
        least = least.max((factor * values[place]).min(1.0));
        adjusted[place] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests;
