//! The coordinator of Lookbehind: it takes jobs, splits every batch over workers, adds their partial gradients in the
//! order of the reduction tree, applies the optimizer and serves the new weights. It contains no models and no data
//! sets: only workers do.

#![forbid(unsafe_code)]

pub mod backup;
mod certificate;
mod config;
mod grpc;
mod http;
mod observe;
mod program;
mod runtime;
mod server;
pub mod state;
pub mod store;
pub mod training;
mod webhooks;

pub use config::{Config, ConfigError};
pub use program::main;
pub use server::{Coordinator, StartError};
pub use webhooks::{ReceiverUrl, SecretError, UrlError, WebhookConfig, WebhookError};
