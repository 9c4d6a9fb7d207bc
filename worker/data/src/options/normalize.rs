//! `normalize` in `[data]`: mean and standard deviation of each channel, given or by the name of who uses them.

use std::fmt;

use lookbehind_common::job::JobError;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// x ↦ (x − mean) / std.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Normalize {
    /// One value per channel, or one for all channels.
    pub(crate) mean: Vec<f32>,
    /// One value per channel, or one for all channels.
    pub(crate) std: Vec<f32>,
}

/// `[data.normalize]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// Values with which published models were trained, for channels red, green, blue from 0 to 1.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    /// Those of the images of ImageNet: torchvision's models, timm's `IMAGENET_DEFAULT_MEAN` and `_STD`.
    ImageNet,
    /// From −1 to 1: most vision transformers, timm's `IMAGENET_INCEPTION_MEAN` and `_STD`.
    Inception,
}

impl From<Preset> for Normalize {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::ImageNet => Self { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] },
            Preset::Inception => Self { mean: vec![0.5; 3], std: vec![0.5; 3] },
        }
    }
}

impl<'de> Deserialize<'de> for Normalize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PresetOrSection;
        impl<'de> Visitor<'de> for PresetOrSection {
            type Value = Normalize;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("\"imagenet\", \"inception\", or a section with mean and std")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Normalize, E> {
                Preset::deserialize(StrDeserializer::new(name)).map(Normalize::from)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Normalize, A::Error> {
                let Section { mean, std } = Section::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Normalize { mean, std })
            }
        }
        deserializer.deserialize_any(PresetOrSection)
    }
}

impl Normalize {
    pub(super) fn check(&self) -> Result<(), JobError> {
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(JobError::new(
                "data.normalize.mean",
                &format!("expected finite values, found {mean}"),
            ));
        }
        match self.std.iter().find(|std| !(**std > 0.0 && std.is_normal() && std.recip().is_normal())) {
            None => Ok(()),
            Some(std) => Err(JobError::new(
                "data.normalize.std",
                &format!("expected values above 0 that can be divided by, found {std:e}"),
            )),
        }
    }

    pub(super) fn check_channels(&self, channels: usize) -> Result<(), JobError> {
        for (path, values) in [("data.normalize.mean", &self.mean), ("data.normalize.std", &self.std)] {
            let found = values.len();
            if found != channels && found != 1 {
                let problem = format!("expected 1 value or {channels}, one per channel, found {found}");
                return Err(JobError::new(path, &problem));
            }
        }
        Ok(())
    }

    /// Mean and standard deviation of a channel. The lengths have been checked: one value for all channels, or one for
    /// each.
    pub(crate) fn of_channel(&self, channel: usize) -> (f32, f32) {
        let value = |values: &[f32]| if let [one] = values { *one } else { values[channel] };
        (value(&self.mean), value(&self.std))
    }
}
