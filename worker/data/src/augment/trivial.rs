//! TrivialAugment (Müller and Hutter 2021): one operation of one strength. The operations are those of torchvision's
//! `TrivialAugmentWide` on floating-point images; posterize and equalize, which it has for bytes only, work on 256 levels.
//! Pixels are moved to the nearest place, and what comes in from outside is black.

use super::colour;
use crate::draws::{Operation, Trivial};
use crate::planes::Planes;

/// Applies the operation to an image with values from 0 to 1.
pub(super) fn apply(image: &mut [f32], planes: Planes, Trivial { operation, strength }: Trivial) {
    let factor = (1.0 + strength) as f32;
    let (half_width, half_height) = (planes.width as f64 / 2.0, planes.height as f64 / 2.0);
    match operation {
        Operation::Identity => {}
        Operation::ShearX => moved(image, planes, |x, y| (x + strength * (y + half_height), y)),
        Operation::ShearY => moved(image, planes, |x, y| (x, y + strength * (x + half_width))),
        Operation::TranslateX => moved(image, planes, |x, y| (x - libm::trunc(strength), y)),
        Operation::TranslateY => moved(image, planes, |x, y| (x, y - libm::trunc(strength))),
        Operation::Rotate => {
            let angle = -strength.to_radians();
            let (sine, cosine) = (libm::sin(angle), libm::cos(angle));
            moved(image, planes, |x, y| (cosine * x + sine * y, cosine * y - sine * x));
        }
        Operation::Brightness => colour::brightness(image, factor),
        Operation::Color => colour::saturation(image, planes, factor),
        Operation::Contrast => colour::contrast(image, planes, factor),
        Operation::Sharpness => colour::sharpness(image, planes, factor),
        Operation::Posterize => colour::posterize(image, strength as u32),
        Operation::Solarize => colour::solarize(image, strength as f32),
        Operation::AutoContrast => colour::autocontrast(image, planes),
        Operation::Equalize => colour::equalize(image, planes),
    }
}

/// Takes each pixel from where `source` says, in coordinates from the centre of the image.
fn moved(image: &mut [f32], planes: Planes, source: impl Fn(f64, f64) -> (f64, f64)) {
    let Planes { height, width, .. } = planes;
    let (half_width, half_height) = (width as f64 / 2.0, height as f64 / 2.0);
    let inside = |place: f64, extent: usize| {
        let nearest = libm::rint(place);
        (nearest >= 0.0 && nearest < extent as f64).then_some(nearest as usize)
    };
    let from = |pixel: usize| {
        let (row, column) = (pixel / width, pixel % width);
        let (x, y) = (column as f64 + 0.5 - half_width, row as f64 + 0.5 - half_height);
        let (x, y) = source(x, y);
        let column = inside(x + half_width - 0.5, width)?;
        Some(inside(y + half_height - 0.5, height)? * width + column)
    };
    let sources: Vec<Option<usize>> = (0..height * width).map(from).collect();
    for plane in image.chunks_exact_mut(height * width) {
        let before = plane.to_vec();
        let pixels = plane.iter_mut().zip(&sources);
        pixels.for_each(|(pixel, source)| *pixel = source.map_or(0.0, |source| before[source]));
    }
}
