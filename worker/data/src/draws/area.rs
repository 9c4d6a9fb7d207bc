//! Random areas of images, as torchvision's `RandomResizedCrop` and `RandomErasing` choose them.

use lookbehind_common::random::Stream;

use super::uniform_between;
use crate::planes::Planes;

/// Attempts until an area is found that lies within the image.
const ATTEMPTS: u32 = 10;

/// A rectangle of pixels within an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// Which areas may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Areas {
    /// Least and greatest share of the image's area.
    pub(super) scale: [f64; 2],
    /// Least and greatest ratio of the first side to the second, evenly in its logarithm.
    pub(super) ratio: [f64; 2],
}

impl Areas {
    /// Draws a first and a second side that `accept` takes for the image, with where they begin; `None` if no attempt
    /// gives such sides. The first one is the width if `ratio` is that of width to height.
    fn sides(
        &self,
        stream: &mut Stream,
        planes: Planes,
        accept: impl Fn(usize, usize) -> bool,
    ) -> Option<(usize, usize)> {
        let area = (planes.height * planes.width) as f64;
        let logarithms = self.ratio.map(libm::log);
        (0..ATTEMPTS).find_map(|_| {
            let target = area * uniform_between(stream, self.scale);
            let ratio = libm::exp(uniform_between(stream, logarithms));
            let side = |square: f64| libm::rint(libm::sqrt(square)) as usize;
            let (first, second) = (side(target * ratio), side(target / ratio));
            accept(first, second).then_some((first, second))
        })
    }

    /// The area of a resized crop: the greatest one of a fitting ratio at the centre, if no attempt gives one.
    pub(super) fn crop(&self, stream: &mut Stream, planes: Planes) -> Area {
        let Planes { height, width, .. } = planes;
        let fits = |w: usize, h: usize| (1..=width).contains(&w) && (1..=height).contains(&h);
        match self.sides(stream, planes, fits) {
            Some((w, h)) => at_random(stream, planes, h, w),
            None => {
                let (found, side) =
                    (width as f64 / height as f64, |side: f64| (libm::rint(side) as usize).max(1));
                let (h, w) = match self.ratio {
                    [least, _] if found < least => (side(width as f64 / least).min(height), width),
                    [_, greatest] if found > greatest => (height, side(height as f64 * greatest).min(width)),
                    _ => (height, width),
                };
                Area { row: (height - h) / 2, column: (width - w) / 2, height: h, width: w }
            }
        }
    }

    /// An area to erase, smaller than the image on both sides; `None` if no attempt gives one.
    pub(super) fn erased(&self, stream: &mut Stream, planes: Planes) -> Option<Area> {
        let fits = |h: usize, w: usize| h < planes.height && w < planes.width;
        let (h, w) = self.sides(stream, planes, fits)?;
        Some(at_random(stream, planes, h, w))
    }
}

fn at_random(stream: &mut Stream, planes: Planes, height: usize, width: usize) -> Area {
    let row = stream.below((planes.height - height + 1) as u64) as usize;
    let column = stream.below((planes.width - width + 1) as u64) as usize;
    Area { row, column, height, width }
}
