//! Cuts an area out of an image and brings it to the image's own size, as the second half of torchvision's
//! `RandomResizedCrop` does: bilinear with antialiasing. The same arithmetic on every machine: + − × ÷ in f64, in one order.

use crate::draws::Area;
use crate::planes::Planes;

/// The area of each plane in the size of the plane.
pub(super) fn resized(image: &[f32], planes: Planes, area: Area) -> Vec<f32> {
    let Planes { height, width, .. } = planes;
    let mut result = Vec::with_capacity(image.len());
    for plane in image.chunks_exact(height * width) {
        let lines = plane.chunks_exact(width).skip(area.row).take(area.height);
        let lines: Vec<_> = lines.map(|line| &line[area.column..area.column + area.width]).collect();
        result.extend(scaled(&lines, [height, width]));
    }
    result
}

/// Lines of equal length in another size, first along the lines, then across them.
fn scaled(lines: &[&[f32]], [height, width]: [usize; 2]) -> Vec<f32> {
    let length = lines.first().map_or(0, |line| line.len());
    let (columns, rows) = (Weights::of(length, width), Weights::of(lines.len(), height));
    let across =
        |line: &&[f32]| (0..width).map(|column| columns.sum(column, |source| line[source])).collect();
    let lines: Vec<Vec<f32>> = lines.iter().map(across).collect();
    let value = |place: usize| rows.sum(place / width, |source| lines[source][place % width]);
    (0..height * width).map(value).collect()
}

/// A plane in another size.
#[cfg(test)]
pub(super) fn smaller(plane: &[f32], [_, width]: [usize; 2], size: [usize; 2]) -> Vec<f32> {
    scaled(&plane.chunks_exact(width).collect::<Vec<_>>(), size)
}

/// The weights of the values that each new value is a mean of: those of a triangle around it, at least as wide as two old
/// values.
struct Weights(Vec<(usize, Vec<f64>)>);

impl Weights {
    fn of(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let support = scale.max(1.0);
        let of_one = |place: usize| {
            let centre = scale * (place as f64 + 0.5);
            // Both are at least 0, so that the cast rounds down.
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weight = |source: usize| (1.0 - ((source as f64 - centre + 0.5) / support).abs()).max(0.0);
            let weights: Vec<f64> = (first..end).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|weight| weight / sum).collect())
        };
        Self((0..to).map(of_one).collect())
    }

    fn sum(&self, place: usize, value: impl Fn(usize) -> f32) -> f32 {
        let (first, weights) = &self.0[place];
        let terms = weights.iter().zip(*first..).map(|(weight, source)| weight * f64::from(value(source)));
        terms.sum::<f64>() as f32
    }
}
