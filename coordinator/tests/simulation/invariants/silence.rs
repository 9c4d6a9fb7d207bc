//! A worker that says nothing any more is lost, soon.

use lookbehind_common::ids::SessionId;

use super::Broken;
use crate::dice::{Micros, seconds};

/// Failure detection, and the longest time that a transfer may still be under way from a worker that is gone.
const LIMIT: Micros = seconds(16);

/// Watches who is still registered.
#[derive(Default)]
pub(crate) struct Silence {
    pub(crate) broken: Broken,
}

impl Silence {
    /// The coordinator's clock has ticked: its sessions, and when each was last heard of.
    pub(crate) fn ticked(&mut self, now: Micros, sessions: impl Iterator<Item = (SessionId, Micros)>) {
        for (session, heard) in sessions {
            let silent = now - heard;
            self.broken.check(silent <= LIMIT, || {
                format!("session {session} is silent for {silent} µs and not lost")
            });
        }
    }
}
