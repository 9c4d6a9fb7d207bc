//! Random choices for a sample: a function of seed, epoch and sample alone, so that they do not depend on shards,
//! workers or repeated gradients of a batch.

mod area;
mod colours;

use lookbehind_common::random::{Key, Purpose, Stream};

use super::SampleContext;
use super::options::Augment;
use super::planes::Planes;
pub(super) use area::Area;
use area::Areas;
pub(super) use colours::{Jitter, JitterStep, Operation, Trivial};

/// Areas that are erased, as published (Zhong et al. 2020) and in torchvision: share of the image, height to width.
const ERASED: Areas = Areas { scale: [0.02, 0.33], ratio: [0.3, 3.3] };

/// Uses of randomness. Each has its own stream, so that switching one on or off does not change the draws of the
/// others.
#[derive(Clone, Copy)]
enum Use {
    Crop = 1,
    Flip = 2,
    Cutout = 3,
    Mixup = 4,
    ResizedCrop = 5,
    ColorJitter = 6,
    TrivialAugment = 7,
    Erasing = 8,
    Cutmix = 9,
    /// Mixup or CutMix, where there are both.
    Mixture = 10,
}

fn stream(context: SampleContext, sample: u64, used_for: Use) -> Stream {
    let key = Key::new(context.seed, Purpose::Augmentation);
    Key { layer: used_for as u32, epoch: context.epoch, sample, ..key }.stream()
}

/// Random changes of one image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// Row and column of the padded image where the crop begins; `None` if images are not cropped.
    pub(super) crop: Option<(usize, usize)>,
    pub(super) flip: bool,
    /// Row and column of the blanked square's centre; `None` if nothing is blanked.
    pub(super) cutout: Option<(usize, usize)>,
    /// The area that takes the place of the image.
    pub(super) resized: Option<Area>,
    pub(super) jitter: Option<Jitter>,
    pub(super) trivial: Option<Trivial>,
    /// The area that is blanked by random erasing.
    pub(super) erased: Option<Area>,
}

impl Changes {
    /// Draws the changes of a sample.
    pub(super) fn of(augment: &Augment, planes: Planes, context: SampleContext, sample: u64) -> Self {
        let mut changes = Self::default();
        if augment.crop_padding > 0 {
            let mut stream = stream(context, sample, Use::Crop);
            let mut offset = || stream.below(2 * augment.crop_padding as u64 + 1) as usize;
            changes.crop = Some((offset(), offset()));
        }
        if augment.flip {
            changes.flip = stream(context, sample, Use::Flip).below(2) == 1;
        }
        if augment.cutout > 0 {
            let mut stream = stream(context, sample, Use::Cutout);
            let mut place = |extent: usize| stream.below(extent as u64) as usize;
            changes.cutout = Some((place(planes.height), place(planes.width)));
        }
        if let Some(crop) = augment.random_resized_crop {
            let areas = Areas { scale: crop.scale, ratio: crop.ratio };
            changes.resized = Some(areas.crop(&mut stream(context, sample, Use::ResizedCrop), planes));
        }
        changes.jitter = augment
            .color_jitter
            .map(|jitter| Jitter::draw(&mut stream(context, sample, Use::ColorJitter), &jitter));
        if augment.trivial_augment {
            changes.trivial = Some(Trivial::draw(&mut stream(context, sample, Use::TrivialAugment)));
        }
        if augment.random_erasing > 0.0 {
            let mut stream = stream(context, sample, Use::Erasing);
            let is_erased = f64::from(stream.uniform()) < augment.random_erasing;
            changes.erased = is_erased.then(|| ERASED.erased(&mut stream, planes)).flatten();
        }
        changes
    }
}

/// The sample that another is mixed with, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mixture {
    /// Index of a sample of the training split, which may be the same one.
    pub(super) partner: u64,
    /// The partner's share, from 0 to 1.
    pub(super) share: f32,
    /// The area that the partner takes; `None` if both are mixed everywhere.
    pub(super) area: Option<Area>,
}

impl Mixture {
    /// Draws the partner from the whole split, and how it is mixed in; `None` without mixup and CutMix. Where there are
    /// both, each sample has one of them, as likely as the other.
    pub(super) fn of(
        augment: &Augment,
        planes: Planes,
        samples: u64,
        context: SampleContext,
        sample: u64,
    ) -> Option<Self> {
        let cuts = match (augment.mixup > 0.0, augment.cutmix > 0.0) {
            (false, false) => return None,
            (true, true) => stream(context, sample, Use::Mixture).below(2) == 1,
            (_, cuts) => cuts,
        };
        Some(match cuts {
            true => Self::cut(augment.cutmix, planes, samples, &mut stream(context, sample, Use::Cutmix)),
            false => {
                let mut stream = stream(context, sample, Use::Mixup);
                let partner = stream.below(samples);
                let share = 1.0 - symmetric_beta(&mut stream, augment.mixup);
                Self { partner, share: share as f32, area: None }
            }
        })
    }

    /// CutMix: an area of 1 − λ around a random centre, as far as it lies within the image, with λ ~ Beta(α, α). The
    /// share is that of the pixels.
    fn cut(alpha: f64, planes: Planes, samples: u64, stream: &mut Stream) -> Self {
        let partner = stream.below(samples);
        let side = 0.5 * libm::sqrt(1.0 - symmetric_beta(stream, alpha));
        let mut span = |extent: usize| {
            let centre = stream.below(extent as u64) as usize;
            let half = (side * extent as f64) as usize;
            (centre.saturating_sub(half), (centre + half).min(extent))
        };
        let ((left, right), (top, bottom)) = (span(planes.width), span(planes.height));
        let area = Area { row: top, column: left, height: bottom - top, width: right - left };
        let pixels = (area.height * area.width) as f64;
        let share = pixels / (planes.height * planes.width) as f64;
        Self { partner, share: share as f32, area: Some(area) }
    }
}

/// A draw from Beta(α, α): x / (x + y) for two draws from Gamma(α). It is computed from their logarithms, as the draws
/// themselves underflow for small α.
fn symmetric_beta(stream: &mut Stream, alpha: f64) -> f64 {
    let (first, second) = (log_gamma_draw(stream, alpha), log_gamma_draw(stream, alpha));
    1.0 / (1.0 + libm::exp(second - first))
}

/// The logarithm of a draw from Gamma(α, 1) by Marsaglia and Tsang, ACM Transactions on Mathematical Software 26
/// (2000), with their section 6 for α < 1: a draw from Gamma(α + 1) times u^(1/α).
fn log_gamma_draw(stream: &mut Stream, alpha: f64) -> f64 {
    if alpha < 1.0 {
        let raised = log_gamma_draw(stream, alpha + 1.0);
        return raised + libm::log(above_zero(stream)) / alpha;
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / libm::sqrt(9.0 * d);
    loop {
        let x = f64::from(stream.normal());
        let root = 1.0 + c * x;
        let uniform = above_zero(stream);
        if root > 0.0 {
            let log_v = 3.0 * libm::log(root);
            let v = root * root * root;
            if libm::log(uniform) < 0.5 * x * x + d - d * v + d * log_v {
                return libm::log(d) + log_v;
            }
        }
    }
}

/// Uniform between two numbers.
fn uniform_between(stream: &mut Stream, [low, high]: [f64; 2]) -> f64 {
    low + (high - low) * f64::from(stream.uniform())
}

/// Uniform in (0, 1].
fn above_zero(stream: &mut Stream) -> f64 {
    1.0 - f64::from(stream.uniform())
}

#[cfg(test)]
mod tests;
