//! How workers lie.

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;
use lookbehind_common::job::JobDescription;
use lookbehind_coordinator::state::event::{Fault, WorkerMessage};
use lookbehind_coordinator::training::ComputeClass;

/// What a worker gives as a reason that says of every job that nobody can prepare it.
pub(crate) const LIE: &str = "an invented reason";

/// How a worker lies in its control messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// It claims progress with every heartbeat and delivers nothing.
    Progress,
    /// It describes other data than there are, and does not draw the initial weights.
    Description,
    /// It is the first to be prepared, with an invented class, and sends gradients of zeros.
    Class,
    /// It says of every job that nobody can prepare it.
    Job,
    /// It adds the blocks that it owns wrongly.
    Sum,
    /// It adds a partial twice.
    Twice,
    /// The same, and it says that it has added them rightly.
    SecretSum,
    /// It uploads blocks, sums and parts, with values that are not finite. Its whole partials are good.
    NotFinite,
}

/// What a worker says that has loaded a job and found this.
pub(crate) fn prepared(lie: Option<Lie>, job: JobId, mut description: JobDescription) -> WorkerMessage {
    if lie == Some(Lie::Job) {
        return WorkerMessage::PrepareFailed { job, fault: Fault::Job, reason: LIE.to_owned() };
    }
    if lie == Some(Lie::Description) {
        description.data_fingerprint = Digest::of(b"other data");
    }
    let probe = if lie == Some(Lie::Class) { Digest::of(b"invented") } else { Digest::of(b"probe") };
    let class = ComputeClass { probe, description: "simulated".into() };
    WorkerMessage::Prepared { job, description: description.into(), class }
}
