//! Authentication: roles, certificates and tokens, TLS for servers and clients, and a small certificate authority for
//! clusters that have none.
//!
//! Everything with which a process proves its identity is in one folder, its *credentials* ([`Folder`]):
//!
//! | file | content |
//! | --- | --- |
//! | `cert.pem`, `key.pem` | its certificate (with intermediates, if any) and the private key |
//! | `ca.pem` | the authorities whose certificates it trusts |
//! | `token` | a bearer token, for people without a certificate |
//! | `tokens.toml` | on a coordinator: hashes of the tokens that it accepts |
//!
//! The subject of a certificate identifies its holder: O is the role, CN the name.

#![forbid(unsafe_code)]

mod authority;
mod calls;
mod checked_stream;
mod client;
mod error;
mod folder;
pub mod peers;
mod principal;
mod refusal;
pub mod secured;
mod server;
mod socket_name;
mod tokens;
mod validity;

pub use authority::{Issued, Left, Provided, Tightened, Wanted, provide};
pub use calls::Calls;
pub use checked_stream::{CheckedStream, Described, StreamCheck};
pub use client::{Access, AccessError, Authorize, ConnectError};
pub use error::IdentityError;
pub use folder::{CA, CERTIFICATE, Folder, KEY, TOKEN, TOKENS};
pub use principal::{Identity, Role, UnknownRole};
pub use refusal::{Mismatch, Refusal};
pub use secured::{Secured, Socket};
pub use server::{GuardedServer, Watched};
pub use socket_name::SocketName;
pub use tokens::{Entry, EqualTokens, Token, Tokens};
pub use validity::{Standing, Validity};
