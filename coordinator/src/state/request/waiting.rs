//! Workers that wait for the weights, because the coordinator serves others.

use std::time::Duration;

use lookbehind_common::ids::SessionId;

use super::Request;

/// Downloads of a request's weights whose waiting is excused: as many as a worker tries. Without a limit, one that asks
/// again and again would never be late.
const EXCUSED: u32 = 3;

impl Request {
    /// A worker asks for the weights to compute at.
    pub(crate) fn note_download(&mut self, session: SessionId) {
        if let Some(assignment) = self.assigned.get_mut(&session) {
            assignment.downloads = assignment.downloads.saturating_add(1);
        }
    }

    /// A worker had to wait for the weights until now, because others were served: its time begins only now.
    pub(crate) fn excuse_waiting(&mut self, session: SessionId, now: Duration) {
        if let Some(assignment) = self.assigned.get_mut(&session)
            && assignment.downloads <= EXCUSED
        {
            (assignment.begun, assignment.last_activity) = (now, now);
        }
    }
}
