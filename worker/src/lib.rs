//! The worker: computes the gradients of its part of each batch, and knows models and data sets.
//!
//! - [`data`]: data sets, from files or embedded.
//! - [`device`]: what a worker computes on.
//! - [`models`]: from inputs to logits.
//! - [`kernels`]: the operations that models consist of, in a crate of their own.
//! - [`onnx`]: models for other programs.
//! - [`parameters`]: a model's tensors as flat buffers and as variables.
//! - [`registry`]: which models and data sets a worker knows by kind.
//! - [`import`]: initial weights from files of other programs.
//! - [`compute`]: the partials of shards and segments.
//! - [`evaluate`]: what trained models predict, and how sharp their minima are.
//! - [`threads`]: how many threads a worker computes with.
//! - [`memory`]: how much memory the process has in use.
//! - [`session`]: the sessions of a worker in a cluster.
//! - [`telemetry`]: how a worker is monitored.
//!
//! # A custom model
//!
//! A model is a constructor and a forward function. Its tensors come from a [`candle_nn::VarBuilder`], so that candle's
//! layers can be used; their names, initial values and gradients need no further code. This one is a linear
//! classifier with dropout, which a job asks for with `kind = "dropout_linear"` and `dropout = 0.2`:
//!
//! ```
//! use candle_core::Tensor;
//! use candle_nn::{linear, Linear, Module};
//! use lookbehind_worker::models::{Model, ForwardContext};
//! use lookbehind_worker::registry::Registry;
//!
//! struct DropoutLinear {
//!     dropout: f32,
//!     layer: Linear,
//! }
//!
//! impl Model for DropoutLinear {
//!     fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
//!         let x = inputs.flatten_from(1)?; // [n, in]
//!         self.layer.forward(&context.dropout(0, self.dropout, &x)?) // [n, classes]
//!     }
//! }
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Parameters {
//!     dropout: f32,
//! }
//!
//! let registry = Registry::builtin().with_model("dropout_linear", |parameters, data, builder| {
//!     let Parameters { dropout } = lookbehind_common::job::parse_parameters("model", parameters)?;
//!     let layer = linear(data.input_size(), data.classes, builder.pp("layer"))?;
//!     Ok(Box::new(DropoutLinear { dropout, layer }))
//! });
//! ```
//!
//! `examples/custom_model.rs` is a complete worker with a custom model.

#[cfg(feature = "cuda")]
mod check;
pub mod compute;
pub mod device;
pub mod evaluate;
#[cfg(not(feature = "cuda"))]
mod handover;
pub mod import;
pub mod memory;
pub mod models;
pub mod onnx;
pub mod parameters;
mod places;
mod program;
pub mod registry;
mod remote_args;
pub mod session;
pub mod telemetry;
pub mod threads;

pub use lookbehind_data as data;
pub use lookbehind_kernels as kernels;
pub use program::main_with;
pub use remote_args::RemoteArgs;
pub use session::{WorkerConfig, WorkerError, run, run_backend};

#[cfg(test)]
mod test_support;
