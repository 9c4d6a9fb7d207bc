//! Curves over levels and radii, as pictures: one for each measure and quantity, with a line for each model and, where
//! there are draws, bars of one standard deviation.

use lookbehind_common::evaluate::Row;
use plotters::prelude::*;

use crate::text::printable;

/// Width and height of a picture.
const SIZE: (u32, u32) = (720, 440);
/// The quantities that are drawn.
const DRAWN: [&str; 4] = ["accuracy", "loss", "loss_increase", "error_increase"];
/// Share of the range that is left free at the ends of an axis.
const MARGIN: f64 = 0.04;

/// A point of a curve: where it is, the mean there, and the standard deviation.
type Point = (f64, f64, f64);

/// The pictures with their names. What cannot be drawn, such as values that are not numbers, is left out.
pub fn draw(rows: &[Row]) -> Vec<(String, String)> {
    let groups =
        rows.chunk_by(|left, right| left.measure == right.measure && left.quantity == right.quantity);
    let mut pictures = Vec::new();
    for group in groups.filter(|group| DRAWN.contains(&group[0].quantity)) {
        let curves = curves(group);
        if curves.iter().all(|(_, points)| points.len() < 2) {
            continue;
        }
        let (measure, quantity) = (&group[0].measure, group[0].quantity);
        let name = format!("{measure}-{quantity}.svg").replace([' ', '_', '='], "-");
        let mut picture = String::new();
        // Drawing to memory fails only where there is nothing to draw.
        if picture_of(&mut picture, measure, quantity, &curves).is_ok() {
            pictures.push((name, picture));
        }
    }
    pictures
}

/// The curve of each model, in the order in which models first occur.
fn curves(rows: &[Row]) -> Vec<(String, Vec<Point>)> {
    let mut curves: Vec<(String, Vec<Point>)> = Vec::new();
    for row in rows {
        let Some(at) = row.at.filter(|at| at.is_finite() && row.spread.mean.is_finite()) else { continue };
        let name = printable(&row.model);
        let place = curves.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            curves.push((name.into_owned(), Vec::new()));
            curves.len() - 1
        });
        curves[place].1.push((at, row.spread.mean, row.spread.std));
    }
    curves.iter_mut().for_each(|(_, points)| points.sort_by(|left, right| left.0.total_cmp(&right.0)));
    curves
}

fn picture_of(
    picture: &mut String,
    measure: &str,
    quantity: &str,
    curves: &[(String, Vec<Point>)],
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let across = range(points().map(|point| point.0));
    let up = range(points().flat_map(|point| [point.1 - point.2, point.1 + point.2]));
    let root = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(measure.replace('_', " "), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(72)
        .build_cartesian_2d(across, up)?;
    let below = if measure.starts_with("sharpness") { "radius" } else { "level" };
    chart.configure_mesh().light_line_style(WHITE).x_desc(below).y_desc(quantity.replace('_', " ")).draw()?;
    for (number, (name, points)) in curves.iter().enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        let line = points.iter().map(|point| (point.0, point.1));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        let bars = points.iter().filter(|point| point.2 > 0.0);
        chart.draw_series(bars.map(|&(at, mean, std)| {
            PathElement::new([(at, mean - std), (at, mean + std)], colour.stroke_width(1))
        }))?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    root.present()?;
    Ok(())
}

/// The range of some values with a margin; of one unit around a single value.
fn range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let margin = if high > low { MARGIN * (high - low) } else { 0.5 };
    low - margin..high + margin
}
