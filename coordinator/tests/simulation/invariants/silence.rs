//! A silent worker is soon treated as lost.

use lookbehind_common::ids::SessionId;

use super::Broken;
use crate::dice::{Micros, seconds};

/// Failure detection, plus the longest time that a transfer from a lost worker may still be under way.
const LIMIT: Micros = seconds(16);

/// Watches the registered sessions.
#[derive(Default)]
pub(crate) struct Silence {
    pub(crate) broken: Broken,
}

impl Silence {
    /// The coordinator's clock has ticked: its sessions, and when each was last heard from.
    pub(crate) fn ticked(&mut self, now: Micros, sessions: impl Iterator<Item = (SessionId, Micros)>) {
        for (session, heard) in sessions {
            let silent = now - heard;
            self.broken.check(silent <= LIMIT, || {
                format!("session {session} is silent for {silent} µs and not lost")
            });
        }
    }
}
