//! The keys of `[data]` that all kinds share: normalisation, augmentation and label smoothing.

mod augment;
mod normalize;

use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::planes::Planes;
pub(super) use augment::{ColorJitter, ResizedCrop};
pub(super) use normalize::Normalize;

/// The keys of `[data]` that do not belong to the kind.
pub(super) const KEYS: [&str; 3] = ["normalize", "augment", "label_smoothing"];

/// How samples are prepared for a model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// For both splits; `None` leaves the values as they are.
    pub(super) normalize: Option<Normalize>,
    /// For the training split only.
    #[serde(default)]
    pub(super) augment: Augment,
    /// For the training split only: share of a target that is spread evenly over all classes.
    #[serde(default)]
    pub(super) label_smoothing: f32,
}

/// `[data.augment]`; zero and `false` leave the samples as they are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Augment {
    /// Width in pixels of the black border around an image, out of which a crop of the image's size is cut at random.
    pub(super) crop_padding: usize,
    /// Whether images are mirrored left to right with probability 1/2.
    pub(super) flip: bool,
    /// Side in pixels of the square that is blanked (DeVries and Taylor 2017).
    pub(super) cutout: usize,
    /// Parameter α of mixup (Zhang et al. 2018).
    pub(super) mixup: f64,
    /// Parameter α of CutMix (Yun et al. 2019).
    pub(super) cutmix: f64,
    /// A random area of the image takes its place (Szegedy et al. 2015); `None`: none.
    pub(super) random_resized_crop: Option<ResizedCrop>,
    /// Random changes of colours.
    pub(super) color_jitter: Option<ColorJitter>,
    /// Whether one random operation is applied (Müller and Hutter 2021).
    pub(super) trivial_augment: bool,
    /// Probability with which a random area is blanked (Zhong et al. 2020).
    pub(super) random_erasing: f64,
}

impl Options {
    /// Separates the options from the keys in `[data]` that belong to the kind.
    pub(super) fn take(parameters: &Parameters) -> Result<(Self, Parameters), JobError> {
        let mut rest = parameters.clone();
        let own = KEYS.iter().filter_map(|&key| rest.remove_entry(key)).collect();
        let options: Self = parse_parameters("data", &own)?;
        options.check()?;
        Ok((options, rest))
    }

    /// Whether samples are used as they are.
    pub(super) fn change_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn check(&self) -> Result<(), JobError> {
        let smoothing = self.label_smoothing;
        if !(0.0..1.0).contains(&smoothing) {
            let problem = format!("expected a share from 0 to below 1, found {smoothing}");
            return Err(JobError::new("data.label_smoothing", &problem));
        }
        self.augment.check()?;
        self.normalize.as_ref().map_or(Ok(()), Normalize::check)
    }

    /// Checks that the options fit samples of this shape.
    pub(super) fn check_shape(&self, input_shape: &[usize], planes: Planes) -> Result<(), JobError> {
        let Augment { crop_padding, flip, cutout, .. } = self.augment;
        let augment = &self.augment;
        let side = planes.height.min(planes.width);
        for (key, used, greatest) in [
            ("color_jitter", augment.color_jitter.is_some(), true),
            ("crop_padding", crop_padding > 0, crop_padding <= side),
            ("cutmix", augment.cutmix > 0.0, true),
            ("cutout", cutout > 0, cutout <= side),
            ("flip", flip, true),
            ("random_erasing", augment.random_erasing > 0.0, true),
            ("random_resized_crop", augment.random_resized_crop.is_some(), true),
            ("trivial_augment", augment.trivial_augment, true),
        ] {
            let path = format!("data.augment.{key}");
            if used && !planes.are_images {
                let problem = format!(
                    "needs images [height, width] or [channels, height, width], the data set has inputs of shape {input_shape:?}"
                );
                return Err(JobError::new(&path, &problem));
            }
            if used && !greatest {
                let problem = format!("expected at most the images' shorter side of {side} pixels");
                return Err(JobError::new(&path, &problem));
            }
        }
        self.normalize.as_ref().map_or(Ok(()), |normalize| normalize.check_channels(planes.channels))
    }
}
