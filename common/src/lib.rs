//! What coordinator, workers and command line share: the job specification, the wire's types, the layout of
//! a model's tensors, the optimizer family, the canonical reduction and keyed randomness.
//!
//! Nothing here opens sockets or decides where files lie; files are read and written where a caller says.

pub mod arena;
pub mod contribution;
pub mod convert;
pub mod digest;
pub mod ids;
pub mod job;
pub mod layout;
pub mod model_file;
pub mod optimizer;
pub mod proto;
pub mod random;
pub mod reduction;
pub mod sampling;
pub mod schedule;
pub mod target;
pub mod transfer;

/// Version of the wire protocol; coordinator and workers must agree on it.
pub const PROTOCOL_VERSION: u32 = 1;

/// Version of this build; workers of another one are refused, since their arithmetic may differ.
pub const BUILD_VERSION: &str = env!("CARGO_PKG_VERSION");
