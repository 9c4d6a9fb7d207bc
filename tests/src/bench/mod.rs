//! Shared by the benchmarks: a backend that computes next to nothing, clusters in this process or in separate
//! processes, the machine's limits, and Markdown tables.

mod backend;
mod cluster;
mod report;
mod star;

pub use backend::ConstantBackend;
pub use cluster::{BenchJob, Outside, Role, run_inside};
pub use report::{Samples, Table, rounds};
pub use star::{copies, star, sums};

/// Any error that stops a benchmark.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
