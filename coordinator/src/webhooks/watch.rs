//! What of the state machine's reports is told.

use std::collections::BTreeSet;

use lookbehind_common::ids::SessionId;

use super::event::Event;
use crate::state::observation::Observation;

/// Knows the workers that are here, to tell when the last one is lost.
#[derive(Debug, Default)]
pub(super) struct Watch {
    workers: BTreeSet<SessionId>,
}

impl Watch {
    /// The event that a report is, if it is one.
    pub(super) fn note(&mut self, observation: &Observation) -> Option<Event> {
        match observation {
            // Jobs that are only restored after a start come from no state.
            Observation::JobMoved(moved) if moved.from.is_some() => Event::of_job(moved),
            Observation::WorkerJoined(session, _) => {
                self.workers.insert(*session);
                None
            }
            Observation::WorkerLost(lost) => {
                let was_here = self.workers.remove(&lost.session);
                let is_last = was_here && self.workers.is_empty() && !lost.draining;
                is_last.then(|| Event::workers_lost(&lost.worker, &lost.cause))
            }
            _ => None,
        }
    }
}
