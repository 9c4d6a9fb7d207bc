//! What is asked of an evaluation, and the check of it before anything is computed.

use serde::{Deserialize, Serialize};

use super::{BatchStatistics, EvaluatedSplit, NoiseKind, SharpnessMeasure};
use crate::job::JobError;

/// Most levels, radii or names in one list.
const MOST_LISTED: usize = 64;
/// Most draws, probes and the like.
const MOST_DRAWS: u32 = 1_000_000;
/// Bits to which weights can be rounded.
const BITS: std::ops::RangeInclusive<f64> = 2.0..=16.0;
/// Most eigenvalues that are computed.
const MOST_EIGENVALUES: u32 = 64;

/// What is evaluated, in addition to loss and accuracy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// The key of all draws.
    pub seed: u64,
    /// Where loss and accuracy are computed, without noise and with it.
    pub split: EvaluatedSplit,
    /// Noise on the weights.
    pub noise: Vec<Noise>,
    /// Sharpness over radii.
    pub sharpness: Option<Sharpness>,
    /// Eigenvalues and trace of the Hessian.
    pub hessian: Option<Hessian>,
    /// Whether the running statistics are computed anew before anything else.
    pub recalibrate: bool,
    /// Training batches from which running statistics are computed anew.
    pub recalibration_batches: u32,
}

/// Noise of one kind on the weights of linear and convolutional layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// The kind.
    pub kind: NoiseKind,
    /// Levels, whose meaning depends on the kind.
    pub levels: Vec<f64>,
    /// Draws for each level.
    #[serde(default = "usual_draws")]
    pub draws: u32,
    /// Statistics of normalisation layers, each tried.
    #[serde(default = "usual_statistics")]
    pub statistics: Vec<BatchStatistics>,
}

/// Sharpness over radii, on the first training samples of a keyed order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sharpness {
    /// The measures.
    pub measures: Vec<SharpnessMeasure>,
    /// The radii ρ.
    pub radii: Vec<f64>,
    /// Number of samples N; all there are if there are fewer.
    pub samples: u64,
    /// Samples m of a batch that climbs by itself.
    pub batch: u64,
    /// Draws of the averages.
    pub draws: u32,
    /// Steps of the ascents.
    pub steps: u32,
}

/// Curvature of the loss on training samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hessian {
    /// Number of eigenvalues, the greatest ones.
    pub eigenvalues: u32,
    /// Most products with vectors for them.
    pub iterations: u32,
    /// Keyed probes of the trace.
    pub probes: u32,
    /// Number of samples; all there are if there are fewer.
    pub samples: u64,
}

/// Draws for each level of noise where nothing is said.
fn usual_draws() -> u32 {
    100
}

fn usual_statistics() -> Vec<BatchStatistics> {
    vec![BatchStatistics::Frozen]
}

impl Default for Request {
    fn default() -> Self {
        Self::plain(0)
    }
}

/// No measure and no radius: these have to be said.
impl Default for Sharpness {
    fn default() -> Self {
        Self { measures: Vec::new(), radii: Vec::new(), samples: 1024, batch: 128, draws: 20, steps: 20 }
    }
}

impl Default for Hessian {
    fn default() -> Self {
        Self { eigenvalues: 5, iterations: 50, probes: 100, samples: 1024 }
    }
}

impl NoiseKind {
    /// The levels that are taken if none are given.
    pub fn usual_levels(self) -> Vec<f64> {
        match self {
            Self::Multiplicative => vec![0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8],
            Self::RelativeMax => vec![0.0, 0.02, 0.05, 0.1, 0.15, 0.2],
            Self::Additive => vec![0.0, 0.01, 0.02, 0.05, 0.1, 0.2],
            Self::Quantize => vec![8.0, 6.0, 5.0, 4.0, 3.0, 2.0],
        }
    }
}

impl Request {
    /// Loss and accuracy alone.
    pub fn plain(seed: u64) -> Self {
        Self {
            seed,
            split: EvaluatedSplit::Test,
            noise: Vec::new(),
            sharpness: None,
            hessian: None,
            recalibrate: false,
            recalibration_batches: 20,
        }
    }

    /// Refuses what cannot be computed. `classes` and `has_statistics` describe the model: its classes, and whether it
    /// has running statistics.
    ///
    /// # Errors
    /// Names the option, what was found and what was expected.
    pub fn check(&self, classes: usize, has_statistics: bool) -> Result<(), JobError> {
        self.noise.iter().try_for_each(Noise::check)?;
        let mut kinds: Vec<_> = self.noise.iter().map(|noise| noise.kind).collect();
        distinct("noise", &mut kinds)?;
        let recalibrated = self.noise.iter().flat_map(|noise| &noise.statistics);
        let recalibrates =
            self.recalibrate || recalibrated.clone().any(|&s| s == BatchStatistics::Recalibrated);
        let key = if self.recalibrate { "recalibrate" } else { "batch-statistics" };
        if recalibrates && !has_statistics {
            return refuse(key, "the model has no running statistics that could be computed anew");
        }
        between("recalibration-batches", self.recalibration_batches, 1, MOST_DRAWS)?;
        if let Some(sharpness) = &self.sharpness {
            sharpness.check(classes)?;
        }
        self.hessian.as_ref().map_or(Ok(()), Hessian::check)
    }
}

impl Noise {
    fn check(&self) -> Result<(), JobError> {
        listed("noise", &self.levels)?;
        for &level in &self.levels {
            match self.kind {
                NoiseKind::Quantize if !(BITS.contains(&level) && level.fract() == 0.0) => {
                    let problem =
                        format!("expected whole numbers of bits from 2 to 16 for quantize, found {level}");
                    return refuse("noise", &problem);
                }
                _ if !(0.0..=1e3).contains(&level) => {
                    return refuse("noise", &format!("expected 0 to 1000, found {level}"));
                }
                _ => {}
            }
        }
        between("draws", self.draws, 1, MOST_DRAWS)?;
        listed("batch-statistics", &self.statistics)?;
        distinct("batch-statistics", &mut self.statistics.clone())
    }

    /// How many draws a level has: one where nothing is random.
    pub fn draws_at(&self, level: f64) -> u32 {
        if level == 0.0 || self.kind == NoiseKind::Quantize { 1 } else { self.draws }
    }
}

impl Sharpness {
    /// Number of m-batches of `samples` samples that there are.
    pub fn batches(&self, samples: u64) -> u64 {
        self.samples.min(samples).div_ceil(self.batch)
    }

    fn check(&self, classes: usize) -> Result<(), JobError> {
        listed("sharpness", &self.measures)?;
        distinct("sharpness", &mut self.measures.clone())?;
        listed("radii", &self.radii)?;
        if let Some(radius) = self.radii.iter().find(|radius| !(radius.is_finite() && **radius > 0.0)) {
            return refuse("radii", &format!("expected numbers above 0, found {radius}"));
        }
        if let Some(measure) = self.measures.iter().find(|measure| measure.normalises_logits() && classes < 2)
        {
            return refuse(
                "sharpness",
                &format!("{measure} needs 2 classes or more, the data have {classes}"),
            );
        }
        between("samples", self.samples, 1, u64::MAX)?;
        between("m", self.batch, 1, u64::MAX)?;
        between("sharpness-draws", self.draws, 1, MOST_DRAWS)?;
        between("ascent-steps", self.steps, 1, MOST_DRAWS)
    }
}

impl Hessian {
    fn check(&self) -> Result<(), JobError> {
        between("eigenvalues", self.eigenvalues, 1, MOST_EIGENVALUES)?;
        between("iterations", self.iterations, self.eigenvalues, 1000)?;
        between("probes", self.probes, 0, MOST_DRAWS)?;
        between("samples", self.samples, 1, u64::MAX)
    }
}

fn refuse(key: &str, problem: &str) -> Result<(), JobError> {
    Err(JobError::new(key, problem))
}

fn between<N: PartialOrd + std::fmt::Display>(
    key: &str,
    found: N,
    least: N,
    most: N,
) -> Result<(), JobError> {
    if found < least || found > most {
        return refuse(key, &format!("expected {least} to {most}, found {found}"));
    }
    Ok(())
}

fn listed<T>(key: &str, list: &[T]) -> Result<(), JobError> {
    match list.len() {
        1..=MOST_LISTED => Ok(()),
        found => refuse(key, &format!("expected 1 to {MOST_LISTED} entries, found {found}")),
    }
}

/// Refuses a list that has something twice.
fn distinct<T: Ord + std::fmt::Display>(key: &str, list: &mut [T]) -> Result<(), JobError> {
    list.sort();
    match list.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => refuse(key, &format!("{} is listed twice", pair[0])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
