//! The exchange of weights and partials with other workers.
//!
//! A [`Round`] is what this worker does for one request: it serves the blocks that others fetch ([`server`]), gets the
//! weights from several sides at once ([`weights`]), adds the blocks that it owns ([`gather`], [`adding`]), uploads to the
//! coordinator what the coordinator has taken over ([`deliver`]), and answers its audits ([`audit`]).

mod adding;
mod audit;
mod deliver;
mod gather;
mod listener;
mod offer;
mod peers;
mod plan;
mod round;
mod server;
mod weights;

pub use listener::PeerListen;
pub(super) use listener::{Exchanging, Listening, towards};
pub(super) use offer::Offer;
pub(super) use peers::Peers;
pub(super) use round::{Means, Round, RoundStart};
