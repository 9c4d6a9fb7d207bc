//! Prepares samples, f32 [channels, height, width]: resized crop, crop with padding, mirroring, colours, TrivialAugment,
//! normalisation, cutout, random erasing, mixup and CutMix, in this order.

mod colour;
mod resample;
mod trivial;

use super::draws::{Area, Changes, Mixture};
use super::options::{Augment, Normalize};
use super::planes::Planes;

/// How samples of one shape are prepared.
#[derive(Clone, Debug)]
pub(super) struct Transform {
    pub(super) planes: Planes,
    pub(super) crop_padding: usize,
    pub(super) cutout: usize,
    pub(super) normalize: Option<Normalize>,
}

impl Transform {
    /// The transform for samples of this shape; its changes are drawn for the same `augment`.
    pub(super) fn new(planes: Planes, augment: &Augment, normalize: Option<Normalize>) -> Self {
        let Augment { crop_padding, cutout, .. } = *augment;
        Self { planes, crop_padding, cutout, normalize }
    }

    /// Writes the changed `image` to `target`; both hold all planes, which have at least one pixel.
    pub(super) fn apply(&self, image: &[f32], changes: &Changes, target: &mut [f32]) {
        let plane = self.planes.height * self.planes.width;
        let resized = changes.resized.map(|area| resample::resized(image, self.planes, area));
        let image = resized.as_deref().unwrap_or(image);
        image
            .chunks_exact(plane)
            .zip(target.chunks_exact_mut(plane))
            .for_each(|(from, to)| self.cut_piece(from, changes, to));
        if let Some(jitter) = &changes.jitter {
            colour::jitter(target, self.planes, jitter);
        }
        if let Some(change) = changes.trivial {
            trivial::apply(target, self.planes, change);
        }
        for (channel, to) in target.chunks_exact_mut(plane).enumerate() {
            if let Some(normalize) = &self.normalize {
                let (mean, std) = normalize.of_channel(channel);
                to.iter_mut().for_each(|value| *value = (*value - mean) / std);
            }
            if let Some(centre) = changes.cutout {
                self.blank(centre, to);
            }
            if let Some(area) = changes.erased {
                lines_of(area, self.planes.width, to).for_each(|line| line.fill(0.0));
            }
        }
    }

    /// Writes one plane: a crop of the image with a black border, mirrored or not.
    fn cut_piece(&self, from: &[f32], changes: &Changes, to: &mut [f32]) {
        let Planes { width, height, .. } = self.planes;
        let padding = self.crop_padding;
        let (down, right) = changes.crop.unwrap_or((padding, padding));
        for (row, to) in to.chunks_exact_mut(width).enumerate() {
            let source = (row + down).checked_sub(padding).filter(|&source| source < height);
            match source {
                None => to.fill(0.0),
                Some(source) => shift(&from[source * width..(source + 1) * width], right, padding, to),
            }
            if changes.flip {
                to.reverse();
            }
        }
    }

    /// Sets a square around a centre to 0, the mean of normalised pixels, as far as it lies within the image.
    fn blank(&self, (row, column): (usize, usize), plane: &mut [f32]) {
        let span = |centre: usize, extent: usize| {
            let start = centre as isize - (self.cutout / 2) as isize;
            let end = start + self.cutout as isize;
            (start.max(0) as usize).min(extent)..(end.max(0) as usize).min(extent)
        };
        let Planes { width, height, .. } = self.planes;
        let columns = span(column, width);
        for line in plane.chunks_exact_mut(width).skip(span(row, height).start).take(span(row, height).len())
        {
            line[columns.clone()].fill(0.0);
        }
    }
}

/// Copies the part of a row that begins at `right` in the row with its black borders.
fn shift(from: &[f32], right: usize, padding: usize, to: &mut [f32]) {
    let width = from.len();
    let black = padding.saturating_sub(right).min(width);
    let skipped = right.saturating_sub(padding).min(width);
    let pixels = width - black.max(skipped);
    to.fill(0.0);
    to[black..black + pixels].copy_from_slice(&from[skipped..skipped + pixels]);
}

/// The pixels of an area, line by line.
fn lines_of(area: Area, width: usize, plane: &mut [f32]) -> impl Iterator<Item = &mut [f32]> {
    let lines = plane.chunks_exact_mut(width).skip(area.row).take(area.height);
    lines.map(move |line| &mut line[area.column..area.column + area.width])
}

/// Mixes `other` into `image`: everywhere by its share, or in an area.
pub(super) fn mix(image: &mut [f32], other: &mut [f32], planes: Planes, mixture: &Mixture) {
    let Some(area) = mixture.area else { return blend(image, other, mixture.share) };
    let (plane, width) = (planes.height * planes.width, planes.width);
    for (image, other) in image.chunks_exact_mut(plane).zip(other.chunks_exact_mut(plane)) {
        let lines = lines_of(area, width, image).zip(lines_of(area, width, other));
        lines.for_each(|(line, other)| line.copy_from_slice(other));
    }
}

/// `share` of the other, and the rest of the image itself.
fn blend(image: &mut [f32], other: &[f32], share: f32) {
    let own = 1.0 - share;
    image.iter_mut().zip(other).for_each(|(value, &other)| *value = own * *value + share * other);
}

#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod tests;
