//! Curves over levels and radii, as pictures: one for each measure and quantity, with a line for each model and, where
//! there are draws, bars of one standard deviation.

use lookbehind_common::evaluate::Row;

use crate::chart::{self, Curve, Point};
use crate::text::printable;

/// The quantities that are drawn.
const DRAWN: [&str; 4] = ["accuracy", "loss", "loss_increase", "error_increase"];

/// The pictures with their names. What cannot be drawn, such as values that are not numbers, is left out.
pub fn draw(rows: &[Row]) -> Vec<(String, String)> {
    let groups =
        rows.chunk_by(|left, right| left.measure == right.measure && left.quantity == right.quantity);
    let mut pictures = Vec::new();
    for group in groups.filter(|group| DRAWN.contains(&group[0].quantity.as_str())) {
        let curves = curves(group);
        if curves.iter().all(|curve| curve.points.len() < 2) {
            continue;
        }
        let (measure, quantity) = (&group[0].measure, &group[0].quantity);
        let name = format!("{measure}-{quantity}.svg").replace([' ', '_', '='], "-");
        let below = if measure.starts_with("sharpness") { "radius" } else { "level" };
        let picture = chart::curves(&measure.replace('_', " "), below, &quantity.replace('_', " "), &curves);
        pictures.push((name, picture));
    }
    pictures
}

/// The curve of each model, in the order in which models first occur.
fn curves(rows: &[Row]) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in rows {
        let Some(x) = row.at.filter(|at| at.is_finite() && row.spread.mean.is_finite()) else { continue };
        let name = printable(&row.model);
        let place = curves.iter().position(|curve| curve.name == name).unwrap_or_else(|| {
            curves.push(Curve { name: name.into_owned(), points: Vec::new() });
            curves.len() - 1
        });
        let bar = row.spread.std.unwrap_or(0.0);
        curves[place].points.push(Point { x, y: row.spread.mean, bar });
    }
    curves.iter_mut().for_each(|curve| curve.points.sort_by(|left, right| left.x.total_cmp(&right.x)));
    curves
}
