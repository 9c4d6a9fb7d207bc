//! The keys of `[data]` that all kinds of images share.

use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::resize::Interpolation;
use crate::InputSpec;

/// Longest side that images are resized to.
const MAX_SIDE: usize = 1 << 13;

/// A job's parameters of the form of its images; by default the form is that of the images themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FormParameters {
    /// The size that images are resized to; `None` leaves them as they are.
    pub(crate) resize: Option<Resize>,
    /// How they are resized.
    pub(crate) interpolation: Interpolation,
    /// Height and width of the part that is cut out of the centre, after resizing.
    pub(crate) center_crop: Option<[usize; 2]>,
    /// 1 for grey, 3 for RGB; `None`: 3 as soon as any image has colours.
    pub(crate) channels: Option<usize>,
    /// Whether images are turned as their EXIF data say.
    pub(crate) exif_orientation: bool,
    /// What happens to images whose files are damaged.
    pub(crate) on_damaged: OnDamaged,
    /// Where the images are while the job runs.
    pub(crate) loading: Where,
    /// What the fingerprint of an indexed data set covers.
    pub(crate) fingerprint: Option<FingerprintOf>,
}

impl Default for FormParameters {
    fn default() -> Self {
        Self {
            resize: None,
            interpolation: Interpolation::default(),
            center_crop: None,
            channels: None,
            exif_orientation: true,
            on_damaged: OnDamaged::default(),
            loading: Where::default(),
            fingerprint: None,
        }
    }
}

/// A size to which images are resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected [height, width], or the length of the shorter side")]
pub(crate) enum Resize {
    /// The length of the shorter side; the other one keeps the proportion.
    Shorter(usize),
    /// Height and width.
    To([usize; 2]),
}

impl Resize {
    /// Height and width of an image after resizing. The longer side is rounded down, as in torchvision.
    pub(super) fn of(self, height: usize, width: usize) -> [usize; 2] {
        let longer = |side: usize, longer: usize, shorter: usize| {
            let exact = side as u128 * longer as u128 / shorter.max(1) as u128;
            usize::try_from(exact).unwrap_or(usize::MAX)
        };
        match self {
            Self::To(size) => size,
            Self::Shorter(side) if height <= width => [side, longer(side, width, height)],
            Self::Shorter(side) => [longer(side, height, width), side],
        }
    }
}

/// What happens to images whose files are damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnDamaged {
    /// The first one ends loading.
    #[default]
    Refuse,
    /// They are left out, and the report says which.
    Skip,
}

/// Where images are while a job runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Where {
    /// Decoded in memory.
    #[default]
    Memory,
    /// In a file, from which they are decoded when they are needed.
    Indexed,
}

/// What the fingerprint of an indexed data set covers; that of one in memory covers all pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FingerprintOf {
    /// The bytes of the images' files.
    #[default]
    Index,
    /// All pixels, so that it is the same as in memory.
    Pixels,
}

impl FormParameters {
    /// Names of the keys.
    pub(crate) const KEYS: [&str; 8] = [
        "resize",
        "interpolation",
        "center_crop",
        "channels",
        "exif_orientation",
        "on_damaged",
        "loading",
        "fingerprint",
    ];

    /// Whether images are not kept in memory.
    pub(crate) fn is_indexed(&self) -> bool {
        self.loading == Where::Indexed
    }

    /// What the fingerprint of an indexed data set covers.
    pub(super) fn fingerprint(&self) -> FingerprintOf {
        self.fingerprint.unwrap_or_default()
    }

    /// Separates the keys of the form from those that belong to the kind.
    pub(crate) fn take(parameters: &Parameters) -> Result<(Self, Parameters), JobError> {
        let mut rest = parameters.clone();
        let own = Self::KEYS.iter().filter_map(|&key| rest.remove_entry(key)).collect();
        let form: Self = parse_parameters("data", &own)?;
        form.check()?;
        Ok((form, rest))
    }

    /// Refuses parameters that no image can have.
    fn check(&self) -> Result<(), JobError> {
        if self.fingerprint.is_some() && self.loading == Where::Memory {
            let problem = "has no meaning without data.loading = \"indexed\"; remove it";
            return Err(JobError::new("data.fingerprint", problem));
        }
        if let Some(channels) = self.channels.filter(|channels| ![1, 3].contains(channels)) {
            return Err(JobError::new("data.channels", &format!("expected 1 or 3, found {channels}")));
        }
        let resize = self.resize.map(|resize| match resize {
            Resize::Shorter(side) => [side; 2],
            Resize::To(size) => size,
        });
        for (key, size) in [("resize", resize), ("center_crop", self.center_crop)] {
            if let Some(size) = size.filter(|size| size.iter().any(|side| !(1..=MAX_SIDE).contains(side))) {
                let problem = format!("expected [height, width] of 1 to {MAX_SIDE} pixels, found {size:?}");
                return Err(JobError::new(&format!("data.{key}"), &problem));
            }
        }
        match (self.resize, self.center_crop) {
            (Some(Resize::To([height, width])), Some([rows, columns]))
                if rows > height || columns > width =>
            {
                let problem = format!(
                    "expected at most the {height} × {width} pixels of data.resize, found {rows} × {columns}"
                );
                Err(JobError::new("data.center_crop", &problem))
            }
            _ => Ok(()),
        }
    }

    /// The input spec, if size, channels and classes are known before any image is read.
    pub(crate) fn input_spec(
        &self,
        size: Option<[usize; 2]>,
        channels: Option<usize>,
        classes: Option<usize>,
    ) -> Option<InputSpec> {
        let resized = match (self.resize, size) {
            (Some(Resize::To(size)), _) => Some(size),
            (Some(resize), Some([height, width])) => Some(resize.of(height, width)),
            (Some(_), None) => None,
            (None, size) => size,
        };
        let [height, width] = self.center_crop.or(resized)?;
        let channels = self.channels.or(channels)?;
        Some(InputSpec { input_shape: vec![channels, height, width], classes: classes? })
    }
}

#[cfg(test)]
mod tests;
