//! Random choices for a sample: a function of seed, epoch and sample alone, so that they do not depend on shards,
//! workers or repeated gradients of a batch.

use lookbehind_common::random::{Key, Purpose, Stream};

use super::SampleContext;
use super::options::Augment;
use super::planes::Planes;

/// Uses of randomness. Each has its own stream, so that switching one on or off does not change the draws of the
/// others.
#[derive(Clone, Copy)]
enum Use {
    Crop = 1,
    Flip = 2,
    Cutout = 3,
    Mixup = 4,
}

fn stream(context: SampleContext, sample: u64, used_for: Use) -> Stream {
    let key = Key::new(context.seed, Purpose::Augmentation);
    Key { layer: used_for as u32, epoch: context.epoch, sample, ..key }.stream()
}

/// Random changes of one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Row and column of the padded image where the crop begins; `None` if images are not cropped.
    pub(super) crop: Option<(usize, usize)>,
    pub(super) flip: bool,
    /// Row and column of the blanked square's centre; `None` if nothing is blanked.
    pub(super) cutout: Option<(usize, usize)>,
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
        changes
    }
}

/// The sample that another is mixed with, and its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mixture {
    /// Index of a sample of the training split, which may be the same one.
    pub(super) partner: u64,
    /// The partner's share, from 0 to 1.
    pub(super) share: f32,
}

impl Mixture {
    /// Draws λ ~ Beta(α, α) and a partner from the whole split; `None` if α is 0.
    pub(super) fn of(augment: &Augment, samples: u64, context: SampleContext, sample: u64) -> Option<Self> {
        if augment.mixup == 0.0 {
            return None;
        }
        let mut stream = stream(context, sample, Use::Mixup);
        let partner = stream.below(samples);
        let share = 1.0 - symmetric_beta(&mut stream, augment.mixup);
        Some(Self { partner, share: share as f32 })
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

/// Uniform in (0, 1].
fn above_zero(stream: &mut Stream) -> f64 {
    1.0 - f64::from(stream.uniform())
}

#[cfg(test)]
mod tests;
