//! Who may do what: a coordinator with credentials, and callers without them, with others', or with bad intentions.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "security/connections.rs"]
mod connections;
#[path = "security/encryption.rs"]
mod encryption;
#[path = "security/ownership.rs"]
mod ownership;
#[path = "security/pages.rs"]
mod pages;
#[path = "security/renewal.rs"]
mod renewal;
#[path = "security/roles.rs"]
mod roles;
#[path = "security/tokens.rs"]
mod tokens;
