//! Stale messages, whose content would do harm if the core accepted it.

use std::sync::Arc;

use lookbehind_common::ids::{ClusterId, SessionId, SessionSecret};
use lookbehind_common::partial::Partial;
use lookbehind_coordinator::state::event::{Event, Fault, Origin, WorkerMessage};

use crate::process::Caller;
use crate::transfers::Upload;
use crate::world::World;

impl World {
    /// Sends one stale message; the invariant checks that it has no effect.
    pub(crate) fn send_stale(&mut self) {
        if self.process.is_none() || self.frozen_until > self.now {
            return;
        }
        let count = self.past.len() as u64;
        // The newest uploads belong to the open request or to one shortly before it.
        let back = self.dice.below(3).min(count.saturating_sub(1));
        let Some(upload) = self.past.get((count - back).saturating_sub(1) as usize).map(Arc::clone) else {
            return;
        };
        let origin = self.stale_origin(&upload.header.origin);
        let job = upload.header.request.job.clone();
        self.invariants.fencing.begin_stale();
        match self.dice.below(8) {
            0..3 => self.stale_partial(&upload, |header| header.origin = origin),
            3 => self.stale_partial(&upload, |header| header.request.index += 1000),
            4 => self.stale_partial(&upload, |header| header.segment.end += 1000),
            5 => self.feed(Event::Worker(origin, WorkerMessage::Draining)),
            6 => {
                let message = WorkerMessage::PrepareFailed { job, fault: Fault::Job, reason: "stale".into() };
                self.feed(Event::Worker(origin, message));
            }
            _ => self.ask(Caller::Stale, |reply_to| Event::WeightsAsked { reply_to, origin, job }),
        }
        self.invariants.fencing.end_stale();
    }

    /// An origin of another cluster, of another incarnation, or of a session that never existed; or that of a session,
    /// perhaps a living one, from a sender who does not know its secret or has another identity.
    fn stale_origin(&mut self, origin: &Origin) -> Origin {
        let mut stale = origin.clone();
        stale.fencing_token.incarnation.0 = self.incarnation;
        match self.dice.below(5) {
            0 => stale.fencing_token.cluster = ClusterId("another".into()),
            1 => stale.fencing_token.incarnation.0 -= 1,
            2 => stale.fencing_token.session = SessionId(stale.session().0 + 100_000),
            3 => stale.fencing_token.secret = SessionSecret::from_entropy(7),
            _ => stale.identity = Some("another".into()),
        }
        stale
    }

    fn stale_partial(
        &mut self,
        upload: &Upload,
        change: impl FnOnce(&mut lookbehind_coordinator::state::event::PartialHeader),
    ) {
        let mut header = upload.header.clone();
        change(&mut header);
        let Partial { mut gradient, statistics, sums } = upload.partial.clone();
        gradient.iter_mut().for_each(|number| *number += 1.0);
        let Upload { header, partial, checksum } =
            Upload::new(header, Partial { gradient, statistics, sums });
        let is_finite = true;
        self.ask(Caller::Stale, |reply_to| Event::PartialArrived {
            reply_to,
            header,
            partial,
            checksum,
            is_finite,
        });
    }
}
