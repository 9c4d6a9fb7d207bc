//! `data.label_noise`: wrong labels in the training split, the same in all epochs.

use std::collections::BTreeMap;

use lookbehind_common::job::JobError;
use lookbehind_common::random::{Key, Purpose};
use serde::Deserialize;

use super::Sample;

/// Draws which samples get another label.
const WHICH: u32 = 1;
/// Draws the label that a sample gets.
const LABEL: u32 = 2;

/// `[data.label_noise]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelNoise {
    kind: NoiseKind,
    /// Share of the samples that get a new label.
    rate: f64,
    /// `asymmetric`: for a class, the class that its samples are labelled with.
    #[serde(default)]
    map: BTreeMap<String, u32>,
    /// Instead of the job's seed.
    seed: Option<u64>,
}

/// Which labels the samples get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoiseKind {
    /// One of the other classes, each as likely.
    SymmetricOther,
    /// One of all classes, each as likely: their own as well.
    SymmetricAny,
    /// The class that the map gives for their own.
    Asymmetric,
}

impl std::fmt::Display for LabelNoise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            NoiseKind::SymmetricOther => "symmetric_other",
            NoiseKind::SymmetricAny => "symmetric_any",
            NoiseKind::Asymmetric => "asymmetric",
        };
        write!(f, "{kind} with rate {}", self.rate)
    }
}

impl LabelNoise {
    pub(super) fn check(&self) -> Result<(), JobError> {
        if !(self.rate > 0.0 && self.rate <= 1.0) {
            let problem = format!("expected a share above 0 and up to 1, found {}", self.rate);
            return Err(JobError::new("data.label_noise.rate", &problem));
        }
        match (self.kind, self.map.is_empty()) {
            (NoiseKind::Asymmetric, true) => Err(JobError::new(
                "data.label_noise.map",
                "is needed for kind \"asymmetric\", as in { 3 = 5 }",
            )),
            (NoiseKind::SymmetricOther | NoiseKind::SymmetricAny, false) => {
                Err(JobError::new("data.label_noise.map", "has no meaning with a symmetric kind; remove it"))
            }
            _ => Ok(()),
        }
    }

    /// Gives new labels to a share of the samples.
    pub(super) fn apply(&self, samples: &mut [Sample], classes: usize, seed: u64) -> Result<(), JobError> {
        if classes < 2 {
            let problem = format!("needs at least 2 classes, the data have {classes}");
            return Err(JobError::new("data.label_noise", &problem));
        }
        let seed = self.seed.unwrap_or(seed);
        let classes = classes as u64;
        match self.kind {
            NoiseKind::SymmetricOther => {
                let new = |sample: &Sample| {
                    let other = label_stream(seed, sample).below(classes - 1) as u32;
                    other + u32::from(other >= sample.class)
                };
                self.relabel(samples, (0..samples.len()).collect(), seed, 0, new);
            }
            NoiseKind::SymmetricAny => {
                let new = |sample: &Sample| label_stream(seed, sample).below(classes) as u32;
                self.relabel(samples, (0..samples.len()).collect(), seed, 0, new);
            }
            NoiseKind::Asymmetric => {
                for (from, to) in self.pairs(classes)? {
                    let of = |&place: &usize| samples[place].class == from;
                    let stratum = (0..samples.len()).filter(of).collect();
                    self.relabel(samples, stratum, seed, u64::from(from) + 1, |_| to);
                }
            }
        }
        Ok(())
    }

    /// Gives new labels to a share, rounded, of the samples at `places`.
    fn relabel(
        &self,
        samples: &mut [Sample],
        mut places: Vec<usize>,
        seed: u64,
        stratum: u64,
        new: impl Fn(&Sample) -> u32,
    ) {
        let count = (self.rate * places.len() as f64).round() as usize;
        let key = Key::new(seed, Purpose::LabelNoise);
        Key { layer: WHICH, batch: stratum, ..key }.stream().shuffle(&mut places);
        for place in places.into_iter().take(count) {
            samples[place].given = new(&samples[place]);
        }
    }

    fn pairs(&self, classes: u64) -> Result<Vec<(u32, u32)>, JobError> {
        let refuse = |problem: String| Err(JobError::new("data.label_noise.map", &problem));
        let mut pairs = Vec::with_capacity(self.map.len());
        for (from, &to) in &self.map {
            let class = from.parse::<u32>().ok().filter(|&class| u64::from(class) < classes);
            match class {
                None => return refuse(format!("expected classes below {classes}, found {from:?}")),
                Some(_) if u64::from(to) >= classes => {
                    return refuse(format!("expected classes below {classes}, found {to}"));
                }
                Some(from) if from == to => return refuse(format!("maps class {from} to itself")),
                Some(from) => pairs.push((from, to)),
            }
        }
        Ok(pairs)
    }
}

fn label_stream(seed: u64, sample: &Sample) -> lookbehind_common::random::Stream {
    let key = Key::new(seed, Purpose::LabelNoise);
    Key { layer: LABEL, sample: sample.number, ..key }.stream()
}
