//! What the benchmarks share: a backend that computes next to nothing, clusters in this process or in processes of
//! their own, and Markdown tables.

mod backend;
mod cluster;
mod report;

pub use backend::ConstantBackend;
pub use cluster::{BenchJob, Outside, Role, run_inside};
pub use report::{Samples, Table, rounds};

/// Whatever stops a benchmark.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
