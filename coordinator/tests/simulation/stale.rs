//! Stale messages, whose content would do harm if the core accepted it.

use std::sync::Arc;

use lookbehind_common::ids::{ClusterId, FencingToken, SessionId};
use lookbehind_common::partial::Partial;
use lookbehind_coordinator::state::event::{Event, Fault, WorkerMessage};

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
        let fencing_token = self.stale_fencing_token(&upload.header.fencing_token);
        let job = upload.header.request.job.clone();
        self.invariants.fencing.begin_stale();
        match self.dice.below(8) {
            0..3 => self.stale_partial(&upload, |header| header.fencing_token = fencing_token),
            3 => self.stale_partial(&upload, |header| header.request.index += 1000),
            4 => self.stale_partial(&upload, |header| header.segment.end += 1000),
            5 => self.feed(Event::Worker(fencing_token, WorkerMessage::Draining)),
            6 => {
                let message = WorkerMessage::PrepareFailed { job, fault: Fault::Job, reason: "stale".into() };
                self.feed(Event::Worker(fencing_token, message));
            }
            _ => self.ask(Caller::Stale, |reply_to| Event::WeightsAsked { reply_to, fencing_token, job }),
        }
        self.invariants.fencing.end_stale();
    }

    /// A fencing token of another cluster, of another incarnation, or of a session that never existed.
    fn stale_fencing_token(&mut self, fencing_token: &FencingToken) -> FencingToken {
        let mut stale = fencing_token.clone();
        stale.incarnation.0 = self.incarnation;
        match self.dice.below(3) {
            0 => stale.cluster = ClusterId("another".into()),
            1 => stale.incarnation.0 -= 1,
            _ => stale.session = SessionId(stale.session.0 + 100_000),
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
        self.ask(Caller::Stale, |reply_to| Event::PartialArrived { reply_to, header, partial, checksum });
    }
}
