//! Measurements and their presentation.

/// Seconds, or other measurements of which less is better.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// The smallest sample; infinity if there are none.
    pub fn best(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// In the order of measuring.
    pub fn each(&self) -> &[f64] {
        &self.0
    }

    /// The largest sample; negative infinity if there are none.
    pub fn longest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The median; NaN if there are no samples.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Adds a sample.
    pub fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// Adds all samples of `others`.
    pub fn append(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(samples: T) -> Self {
        Self(samples.into_iter().collect())
    }
}

/// A Markdown table that is printed row by row.
pub struct Table;

impl Table {
    /// Prints the header.
    pub fn new(columns: &[&str]) -> Self {
        println!("\n| {} |", columns.join(" | "));
        println!("|{}", "---|".repeat(columns.len()));
        Self
    }

    /// Prints a row.
    pub fn row(&self, cells: &[String]) {
        println!("| {} |", cells.join(" | "));
    }
}

/// Number of rounds to measure: the variable `LOOKBEHIND_BENCH_ROUNDS`, or a default.
pub fn rounds(default: usize) -> usize {
    std::env::var("LOOKBEHIND_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
