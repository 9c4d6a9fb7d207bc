//! Charts as SVG: curves, and values with their spread. They have no scripts and no fonts of their own, and their colours
//! can be told apart in dark and light.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 48.0;
/// Okabe and Ito's colours, which people with colour blindness can tell apart, without yellow; the grey is the last.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#882255", "#777777"];
/// About how many lines the grid has in each direction.
const TICKS: f64 = 6.0;

/// A named curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Name in the key.
    pub name: String,
    /// Points from left to right.
    pub points: Vec<Point>,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Where it is.
    pub x: f64,
    /// Its value.
    pub y: f64,
    /// Half the length of the bar through it; 0 for none.
    pub bar: f64,
}

impl Point {
    /// A point without a bar.
    pub fn new(x: f64, y: f64) -> Self {
        Self { x, y, bar: 0.0 }
    }

    fn is_finite(&self) -> bool {
        [self.x, self.y, self.bar].iter().all(|value| value.is_finite())
    }
}

/// A named value with the half width of its interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Name beside it.
    pub name: String,
    /// The value.
    pub value: f64,
    /// Half the width of its interval, if there is one.
    pub half_width: Option<f64>,
    /// What it is made of.
    pub dots: Vec<f64>,
}

/// Curves over a common axis. Values that are not finite are left out.
pub fn curves(title: &str, x_name: &str, y_name: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points).filter(|point| point.is_finite());
    let x = Axis::of(points().map(|point| point.x));
    let y = Axis::of(points().flat_map(|point| [point.y - point.bar, point.y + point.bar]));
    let (across, up) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let place = |at: f64, of: f64| (LEFT + across * x.share(at), TOP + up * (1.0 - y.share(of)));
    let mut svg = begin(title, HEIGHT);
    for tick in x.ticks() {
        let (at, _) = place(tick, y.low);
        line(&mut svg, (at, TOP), (at, TOP + up));
        text(&mut svg, (at, TOP + up + 18.0), "middle", &short(tick));
    }
    for tick in y.ticks() {
        let (_, at) = place(x.low, tick);
        line(&mut svg, (LEFT, at), (LEFT + across, at));
        text(&mut svg, (LEFT - 8.0, at + 4.0), "end", &short(tick));
    }
    text(&mut svg, (LEFT + across / 2.0, HEIGHT - 10.0), "middle", x_name);
    text(&mut svg, (LEFT, TOP - 10.0), "start", y_name);
    for (number, curve) in curves.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let dash = if number < COLOURS.len() { "" } else { " stroke-dasharray=\"6 3\"" };
        let (mut path, mut bars) = (String::new(), String::new());
        for point in curve.points.iter().filter(|point| point.is_finite()) {
            let (at, of) = place(point.x, point.y);
            let _ = write!(path, "{}{at:.1} {of:.1}", if path.is_empty() { "M" } else { " L" });
            if point.bar > 0.0 {
                let [(_, low), (_, high)] =
                    [point.y - point.bar, point.y + point.bar].map(|end| place(point.x, end));
                let _ = write!(bars, "M{at:.1} {low:.1} V{high:.1} ");
            }
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"{dash}/>"
        );
        if !bars.is_empty() {
            let _ = writeln!(svg, "<path d=\"{}\" stroke=\"{colour}\"/>", bars.trim_end());
        }
        let beside = TOP + 14.0 + 18.0 * number as f64;
        let from = LEFT + across + 16.0;
        let _ = writeln!(
            svg,
            "<path d=\"M{from:.1} {:.1} h18\" stroke=\"{colour}\" stroke-width=\"2.4\"{dash}/>",
            beside - 4.0
        );
        text(&mut svg, (from + 24.0, beside), "start", &curve.name);
    }
    end(svg)
}

/// Values below each other, each with its interval and what it is made of.
pub fn values(title: &str, x_name: &str, values: &[Value]) -> String {
    const ROW: f64 = 30.0;
    let height = TOP + BOTTOM + ROW * values.len() as f64;
    let ends = values.iter().flat_map(|value| {
        let half = value.half_width.unwrap_or(0.0);
        value.dots.iter().copied().chain([value.value - half, value.value + half])
    });
    let x = Axis::of(ends.filter(|end| end.is_finite()));
    let (left, across) = (RIGHT, WIDTH - RIGHT - 24.0);
    let at = |value: f64| left + across * x.share(value);
    let mut svg = begin(title, height);
    for tick in x.ticks() {
        line(&mut svg, (at(tick), TOP), (at(tick), height - BOTTOM));
        text(&mut svg, (at(tick), height - BOTTOM + 18.0), "middle", &short(tick));
    }
    text(&mut svg, (left + across / 2.0, height - 10.0), "middle", x_name);
    for (number, value) in values.iter().enumerate().filter(|(_, value)| value.value.is_finite()) {
        let y = TOP + ROW * (number as f64 + 0.5);
        let colour = COLOURS[number % COLOURS.len()];
        text(&mut svg, (left - 12.0, y + 4.0), "end", &value.name);
        for dot in value.dots.iter().filter(|dot| dot.is_finite()) {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{colour}\" fill-opacity=\"0.35\"/>",
                at(*dot),
                y + 7.0
            );
        }
        if let Some(half) = value.half_width {
            let (from, to) = (at(value.value - half), at(value.value + half));
            let _ = writeln!(
                svg,
                "<path d=\"M{from:.1} {y:.1} H{to:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            );
        }
        let _ =
            writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>", at(value.value));
    }
    end(svg)
}

/// A linear axis.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        match low.partial_cmp(&high) {
            Some(std::cmp::Ordering::Less) => {
                let margin = 0.04 * (high - low);
                Self { low: low - margin, high: high + margin }
            }
            Some(std::cmp::Ordering::Equal) => Self { low: low - 0.5, high: high + 0.5 },
            // There is no value.
            _ => Self { low: 0.0, high: 1.0 },
        }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// Multiples of 1, 2 or 5 times a power of ten.
    fn ticks(&self) -> Vec<f64> {
        let raw = (self.high - self.low) / TICKS;
        let power = 10.0_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= raw);
        let step = step.unwrap_or(10.0 * power);
        let first = (self.low / step).ceil();
        let count = (self.high / step).floor() - first;
        (0..=count.max(0.0) as u32).map(|number| (first + f64::from(number)) * step).collect()
    }
}

fn short(value: f64) -> String {
    let text = format!("{:.6}", if value == 0.0 { 0.0 } else { value });
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn begin(title: &str, height: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" role=\"img\">\n<title>{0}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        escaped(title)
    );
    text(&mut svg, (WIDTH / 2.0, 18.0), "middle", title);
    svg
}

fn end(mut svg: String) -> String {
    svg.push_str("</svg>\n");
    svg
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1} {:.1} L{:.1} {:.1}\" stroke=\"#dddddd\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        at.0,
        at.1,
        escaped(text)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_has_its_path_and_its_name() {
        let curve = |name: &str| Curve {
            name: name.to_owned(),
            points: vec![Point::new(0.0, 0.5), Point::new(10.0, 0.75)],
        };
        let svg = curves("a & b", "gradients", "accuracy", &[curve("sgd"), curve("k < 3")]);
        assert!(
            svg.contains("<title>a &amp; b</title>") && svg.contains("k &lt; 3") && svg.ends_with("</svg>\n")
        );
        assert_eq!(svg.matches("fill=\"none\"").count(), 2);
    }

    #[test]
    fn bars_are_within_the_chart_and_points_without_one_have_none() {
        let points = vec![Point { bar: 0.25, ..Point::new(0.0, 0.5) }, Point::new(1.0, 0.5)];
        let svg = curves("t", "x", "y", &[Curve { name: "n".to_owned(), points }]);
        let bars: Vec<&str> = svg.lines().filter(|line| line.contains(" V")).collect();
        let [bar] = bars[..] else { panic!("{svg}") };
        let parts: Vec<f64> = bar.split(['"', ' ', 'M', 'V']).filter_map(|part| part.parse().ok()).collect();
        let [_, low, high] = parts[..] else { panic!("{bar}") };
        assert!(TOP < high && high < low && low < HEIGHT - BOTTOM, "{bar}");
    }

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        let ticks: Vec<String> = Axis { low: -0.02, high: 0.98 }.ticks().into_iter().map(short).collect();
        assert_eq!(ticks, ["0", "0.2", "0.4", "0.6", "0.8"]);
    }

    #[test]
    fn no_values_and_values_that_are_not_finite_give_a_chart_without_them() {
        assert!(!curves("t", "x", "y", &[]).contains("NaN"));
        let broken =
            Curve { name: "n".to_owned(), points: vec![Point::new(1.0, f64::NAN), Point::new(2.0, 1.0)] };
        assert!(!curves("t", "x", "y", &[broken]).contains("NaN"));
        let value = Value { name: "n".to_owned(), value: f64::NAN, half_width: None, dots: Vec::new() };
        assert!(!values("t", "x", &[value]).contains("NaN"));
    }
}
