//! Shared by the benchmarks: a backend that computes next to nothing, clusters in this process or in separate
//! processes or on hosts behind links, the machine's limits, and Markdown tables.

mod backend;
mod cluster;
mod disturbance;
mod hosts;
mod processors;
mod report;
mod roles;
mod scheme;
mod setup;
mod spread;
mod star;
mod stream;
mod timeline;

pub use backend::ConstantBackend;
pub use cluster::{BenchJob, Outside, run_inside};
pub use disturbance::{Disturbed, Fault};
pub use hosts::{Host, Hosts, INTERFACE, Unavailable};
pub use processors::{Processors, peak_bytes};
pub use report::{Samples, Table, rounds};
pub use roles::Role;
pub use scheme::Scheme;
pub use setup::{Load, Placement, Setup};
pub use spread::{Measured, Spread, Trained};
pub use star::{copies, star, sums};
pub use stream::goodput;
pub use timeline::Timeline;

/// Any error that stops a benchmark.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
