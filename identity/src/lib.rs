//! Who is who: roles, certificates and tokens, TLS for those who listen and those who call, and a small certificate
//! authority for clusters that have none.
//!
//! Everything that a process needs to prove who it is lies in one folder, its *credentials* ([`Folder`]):
//!
//! | file | what it is |
//! | --- | --- |
//! | `cert.pem`, `key.pem` | its certificate (with intermediates, if any) and the private key |
//! | `ca.pem` | the authorities whose certificates it believes |
//! | `token` | a bearer token, for people without a certificate |
//! | `tokens.toml` | of a coordinator: hashes of the tokens that it takes |
//!
//! A certificate says who somebody is in its subject: O is the role, CN the name.

#![forbid(unsafe_code)]

mod authority;
mod client;
mod error;
mod folder;
mod principal;
mod secured;
mod server;
mod tokens;

pub use authority::{Authority, Issued, Wanted};
pub use client::{Access, AccessError, Authorize, tls_refusal};
pub use error::IdentityError;
pub use folder::{CA, CERTIFICATE, Folder, KEY, TOKEN, TOKENS};
pub use principal::{Identity, Role, UnknownRole};
pub use secured::Secured;
pub use server::{GuardedServer, Watched};
pub use tokens::{Entry, Token, Tokens};
