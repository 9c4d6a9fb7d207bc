//! A stale message changes nothing, and a worker is lost only once.

use std::collections::BTreeSet;

use lookbehind_common::ids::SessionId;
use lookbehind_coordinator::state::command::Command;
use lookbehind_coordinator::state::event::{Admission, PartialOutcome, Reply};

use super::Broken;

/// Watches the commands of the core.
#[derive(Default)]
pub(crate) struct Fencing {
    stale: bool,
    lost: BTreeSet<SessionId>,
    pub(crate) broken: Broken,
}

impl Fencing {
    /// A new incarnation begins, with sessions of its own.
    pub(crate) fn started(&mut self) {
        self.lost.clear();
    }

    /// Commands from here until `end_stale` are consequences of a stale message.
    pub(crate) fn begin_stale(&mut self) {
        self.stale = true;
    }

    pub(crate) fn end_stale(&mut self) {
        self.stale = false;
    }

    /// The core has emitted commands.
    pub(crate) fn commands(&mut self, commands: &[Command]) {
        for command in commands {
            let harmless = !self.stale || matches!(command, Command::Reply(..));
            self.broken.check(harmless, || format!("a stale message led to {command:?}"));
            match command {
                Command::Disconnect(session) => {
                    let first = self.lost.insert(*session);
                    self.broken.check(first, || format!("session {session} was lost twice"));
                }
                Command::Send(session, message) => {
                    let registered = !self.lost.contains(session);
                    self.broken
                        .check(registered, || format!("session {session} is lost and was sent {message:?}"));
                }
                _ => {}
            }
        }
    }

    /// The answer to a stale message.
    pub(crate) fn stale_answer(&mut self, reply: &Reply) {
        let refused = matches!(
            reply,
            Reply::Partial(PartialOutcome::Stale(_))
                | Reply::Admission(Admission::Stale(_) | Admission::Refused(_))
        );
        self.broken.check(refused, || format!("a stale message was answered with {reply:?}"));
    }
}
