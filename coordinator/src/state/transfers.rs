//! Workers that cannot transfer tensors, for example because something between them and the coordinator refuses large
//! bodies or cuts connections: others take over their shards, and one whose transfers fail again and again is excluded
//! from the job.

use lookbehind_common::ids::{RequestId, SessionId};
use lookbehind_common::reduction::Segment;

use super::active::{Active, Stage};
use super::cluster::Cluster;
use super::halt::Handled;
use super::job::{Ground, Job};

/// A worker is excluded from a job when this many of its transfers have failed in a row. It waits ever longer between
/// them, about three seconds in all, so that a short disturbance does not exclude it.
const MAX_FAILURES: u32 = 6;

/// A member's transfers that failed after several attempts each.
#[derive(Clone, Debug, Default)]
pub(super) struct FailedTransfers {
    in_a_row: u32,
    /// The reason that was noted last: an equal one is not noted again.
    noted: Option<String>,
}

impl FailedTransfers {
    /// A partial or initial weights have arrived.
    pub(super) fn ended_well(&mut self) {
        self.in_a_row = 0;
    }

    /// One more has failed. Returns whether it is to be noted: the first of several in a row is, with a new reason.
    fn count(&mut self, reason: &str) -> bool {
        self.in_a_row += 1;
        let is_news = self.in_a_row == 1 && self.noted.as_deref() != Some(reason);
        if is_news {
            self.noted = Some(reason.to_owned());
        }
        is_news
    }
}

impl Cluster {
    /// A worker could not download a job's weights, or not upload a partial or the initial weights.
    pub(super) fn transfer_failed(
        &mut self,
        job: &mut Job,
        session: SessionId,
        request: Option<&(RequestId, Vec<Segment>)>,
        reason: &str,
    ) -> Handled {
        let name = self.workers.name(session);
        let active = job.with_member(session)?;
        let Some(member) = active.members.get_mut(&session) else { return Ok(()) };
        let is_news = member.transfers.count(reason);
        let failures = member.transfers.in_a_row;
        // Doubled for each failure in a row, so that the job waits ever less for a worker that fails each time.
        let passed_over = self.config.heartbeat_interval() * 2_u32.saturating_pow(failures.min(MAX_FAILURES));
        member.passed_over_until = self.now.elapsed + passed_over;
        if let Some((id, segments)) = request {
            give_back(active, session, id, segments, self.now.elapsed);
        }
        tracing::warn!(job = %job.id(), worker = name, failures, reason, "transfer failed");
        if failures >= MAX_FAILURES {
            let reason = format!("{failures} transfers in a row failed, the last with: {reason}");
            return self.exclude(job, session, &reason, Ground::Failure);
        }
        if is_news {
            self.note(job, &format!("worker {name}: a transfer failed: {reason}"));
        }
        let active = job.require_active_mut()?;
        match active.stage {
            Stage::Drawing(drawing) if drawing == session => self.request_initial_state_elsewhere(job),
            Stage::Training(_) => {
                self.assign_unassigned(active);
                // Perhaps only a comparison with what the worker would have delivered was missing.
                self.gathered(job)
            }
            Stage::Describing | Stage::Drawing(_) | Stage::Loading | Stage::Storing(_) => Ok(()),
        }
    }
}

/// Withdraws segments from a worker, if they are those of the open request. What it owns of an exchange between workers
/// is taken over, since it cannot be relied on to upload that.
fn give_back(
    active: &mut Active,
    session: SessionId,
    id: &RequestId,
    segments: &[Segment],
    now: std::time::Duration,
) {
    if let Ok(request) = active.request_of(id) {
        if let Some(exchange) = &mut request.exchange {
            exchange.take_over_from(session, now);
        }
        segments.iter().for_each(|segment| {
            if request.is_assigned(session, *segment) {
                request.give_back(session, *segment);
            }
        });
    }
}
