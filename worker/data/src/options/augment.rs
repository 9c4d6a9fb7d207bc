//! What the tables in `[data.augment]` have, and which numbers can be meant.

use lookbehind_common::job::JobError;
use serde::Deserialize;

use super::Augment;

/// Smallest parameter of a Beta distribution except 0: below it, mixtures are hardly any, and draws overflow.
const LEAST_ALPHA: f64 = 1e-3;
/// Greatest parameter of a Beta distribution: beyond it, mixtures are practically even.
const GREATEST_ALPHA: f64 = 1e6;

/// `random_resized_crop`: which areas take the place of the image.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ResizedCrop {
    /// Least and greatest share of the image's area.
    pub(crate) scale: [f64; 2],
    /// Least and greatest ratio of width to height.
    pub(crate) ratio: [f64; 2],
}

impl Default for ResizedCrop {
    fn default() -> Self {
        Self { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

/// `color_jitter`: how far each factor may differ from 1, and the hue be turned, in parts of the circle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ColorJitter {
    pub(crate) brightness: f64,
    pub(crate) contrast: f64,
    pub(crate) saturation: f64,
    pub(crate) hue: f64,
}

impl Augment {
    /// Refuses numbers that have no meaning.
    pub(super) fn check(&self) -> Result<(), JobError> {
        for (key, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if alpha != 0.0 && !(LEAST_ALPHA..=GREATEST_ALPHA).contains(&alpha) {
                let expected = format!("0 or a number from {LEAST_ALPHA} to {GREATEST_ALPHA}");
                return Err(refused(key, &expected, alpha));
            }
        }
        if !(0.0..=1.0).contains(&self.random_erasing) {
            return Err(refused("random_erasing", "a probability from 0 to 1", self.random_erasing));
        }
        self.color_jitter.map_or(Ok(()), ColorJitter::check)?;
        self.random_resized_crop.map_or(Ok(()), ResizedCrop::check)
    }
}

impl ColorJitter {
    fn check(self) -> Result<(), JobError> {
        for (key, range) in
            [("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation)]
        {
            if !(range >= 0.0 && range.is_finite()) {
                return Err(refused(&format!("color_jitter.{key}"), "a number from 0", range));
            }
        }
        match (0.0..=0.5).contains(&self.hue) {
            true => Ok(()),
            false => Err(refused("color_jitter.hue", "a part of the circle from 0 to 0.5", self.hue)),
        }
    }
}

impl ResizedCrop {
    fn check(self) -> Result<(), JobError> {
        let rises =
            |[least, greatest]: [f64; 2], most: f64| least > 0.0 && least <= greatest && greatest <= most;
        let key = |name: &str| format!("data.augment.random_resized_crop.{name}");
        if !rises(self.scale, 1.0) {
            let problem = format!("expected two rising shares above 0 and up to 1, found {:?}", self.scale);
            return Err(JobError::new(&key("scale"), &problem));
        }
        if !rises(self.ratio, 1e3) || self.ratio[0] < 1e-3 {
            let problem = format!("expected two rising ratios from 0.001 to 1000, found {:?}", self.ratio);
            return Err(JobError::new(&key("ratio"), &problem));
        }
        Ok(())
    }
}

fn refused(key: &str, expected: &str, found: f64) -> JobError {
    JobError::new(&format!("data.augment.{key}"), &format!("expected {expected}, found {found:e}"))
}
