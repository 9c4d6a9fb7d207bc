//! Events and their JSON form. `docs/json.md` lists the keys.

use lookbehind_proto::json::time;
use serde_json::json;

use super::Source;
use super::deliver::Message;
use crate::grpc::views::timestamp;
use crate::state::observation::JobMove;
use crate::state::{JobState, UnixMillis};

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    name: &'static str,
    message: String,
    job: Option<ToldJob>,
    worker: Option<String>,
    mode: Option<&'static str>,
}

/// A job in an event.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ToldJob {
    id: String,
    name: String,
    owner: String,
    state: &'static str,
}

impl Event {
    fn new(name: &'static str, message: &str) -> Self {
        Self { name, message: message.to_owned(), job: None, worker: None, mode: None }
    }

    /// A job has reached a state that is told; `None` for the other states.
    pub(super) fn of_job(moved: &JobMove) -> Option<Self> {
        let name = match moved.to {
            JobState::Succeeded => "job_succeeded",
            JobState::Failed => "job_failed",
            JobState::Cancelled => "job_cancelled",
            JobState::Paused => "job_paused",
            JobState::Queued | JobState::Preparing | JobState::Running => return None,
        };
        let JobMove { job, name: of_job, owner, to, message, .. } = moved;
        let (id, state) = (job.to_string(), to.name());
        let job = ToldJob { id, name: of_job.clone(), owner: owner.clone(), state };
        Some(Self { job: Some(job), ..Self::new(name, message) })
    }

    /// The last worker is gone that had not said that it would leave.
    pub(super) fn workers_lost(worker: &str, cause: &impl std::fmt::Display) -> Self {
        let message = format!("no worker is left: worker {worker} was lost: {cause}");
        Self { worker: Some(worker.to_owned()), ..Self::new("workers_lost", &message) }
    }

    /// The coordinator has entered a degraded mode with a reason, or has left it.
    pub(super) fn mode(mode: &'static str, reason: Option<&str>) -> Self {
        let event = match reason {
            Some(reason) => Self::new("degraded", reason),
            None => Self::new("recovered", ""),
        };
        Self { mode: Some(mode), ..event }
    }

    /// The word for it.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The event as it is sent.
    pub(super) fn message(&self, source: &Source, number: u64, at: UnixMillis) -> Message {
        let id = format!("{}-{}-{number}", source.cluster, source.incarnation);
        let mut body = json!({
            "id": id,
            "event": self.name,
            "at": time(&timestamp(at)),
            "cluster": source.cluster,
            "message": self.message,
        });
        if let Some(ToldJob { id, name, owner, state }) = &self.job {
            body["job"] = json!({ "id": id, "name": name, "owner": owner, "state": state });
        }
        if let Some(worker) = &self.worker {
            body["worker"] = json!(worker);
        }
        if let Some(mode) = self.mode {
            body["mode"] = json!(mode);
        }
        let body = body.to_string();
        Message { event: self.name, id, body: body.into() }
    }
}
