//! Authorisation: a coordinator with credentials, and callers without credentials, with those of others, or with bad
//! intentions.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod certs;
mod connections;
mod encryption;
mod floods;
mod kept;
mod ownership;
mod pages;
mod permissions;
mod refused_workers;
mod renewal;
mod reports;
mod roles;
mod shares;
mod strangers;
mod tokens;
