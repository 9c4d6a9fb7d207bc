//! Conversion of jobs, workers, notices and errors from domain types to messages.

use lookbehind_common::selection::Best;
use lookbehind_proto::convert::FieldError;
use lookbehind_proto::transfer::TransferError;
use lookbehind_proto::transfer::body::IncomingError;
use lookbehind_proto::v1;
use prost::Message as _;
use prost_types::Timestamp;
use tonic::Status;

use super::listing::ListError;
use crate::state::event::{CallError, JobView, SpecView, WorkerView};
use crate::state::{
    BestResult, JobState, Notice, NoticeKind, Results, StorageFailure, TestResults, UnixMillis,
};
use crate::store::StoreError;
use crate::store::checkpoint::Listed;
use crate::store::uploads::UploadError;

pub(super) fn state(state: JobState) -> v1::JobState {
    match state {
        JobState::Queued => v1::JobState::Queued,
        JobState::Preparing => v1::JobState::Preparing,
        JobState::Running => v1::JobState::Running,
        JobState::Paused => v1::JobState::Paused,
        JobState::Succeeded => v1::JobState::Succeeded,
        JobState::Failed => v1::JobState::Failed,
        JobState::Cancelled => v1::JobState::Cancelled,
    }
}

pub(crate) fn timestamp(at: UnixMillis) -> Timestamp {
    Timestamp { seconds: (at.0 / 1000) as i64, nanos: (at.0 % 1000) as i32 * 1_000_000 }
}

pub(super) fn job(view: &JobView) -> v1::Job {
    v1::Job { spec: spec(view), ..job_without_spec(view) }
}

/// The specification in a view; `None` if it was not wanted, or was stored by a version that this one does not understand.
pub(crate) fn spec(view: &JobView) -> Option<v1::JobSpec> {
    match &view.spec {
        SpecView::Encoded(spec) => v1::JobSpec::decode(spec.as_slice()).ok(),
        SpecView::Omitted | SpecView::Wanted => None,
    }
}

/// A job without its specification, which may be large.
pub(crate) fn job_without_spec(view: &JobView) -> v1::Job {
    let record = &view.record;
    v1::Job {
        id: record.id.to_string(),
        spec: None,
        state: state(record.state).into(),
        revision: record.revision,
        message: record.message.clone(),
        outer_step: view.outer_step,
        total_outer_steps: record.total_outer_steps,
        created_at: Some(timestamp(record.created_at)),
        finished_at: record.finished_at.map(timestamp),
        workers: view.workers,
        digest: record.digest.map(String::from).unwrap_or_default(),
        owner: record.owner.clone(),
        repeats_until: view.repeats_until.unwrap_or(0),
        waiting_for: view.waiting_for.as_ref().map(ToString::to_string).unwrap_or_default(),
        results: record.results.as_ref().map(results),
    }
}

pub(super) fn checkpoint(listed: &Listed) -> v1::Checkpoint {
    v1::Checkpoint {
        outer_step: listed.manifest.position.outer_step,
        epoch: listed.manifest.position.epoch,
        digest: listed.manifest.digest.to_string(),
        bytes: listed.bytes,
        written_at: Some(timestamp(listed.written_at)),
    }
}

fn results(results: &Results) -> v1::JobResults {
    let test = results.test.map(|TestResults { loss, accuracy, samples, .. }| v1::TestMetrics {
        loss,
        accuracy,
        samples,
    });
    v1::JobResults {
        outer_step: results.outer_step,
        loss: results.loss,
        accuracy: results.accuracy,
        test,
        test_outer_step: results.test.map_or(0, |test| test.outer_step),
        best: results.best.map(best),
    }
}

fn best(best: BestResult) -> v1::BestResult {
    let BestResult { criterion, evaluation: Best { outer_step, value } } = best;
    v1::BestResult { outer_step, metric: v1::Criterion::from(criterion).into(), value }
}

pub(crate) fn worker(view: &WorkerView) -> v1::Worker {
    v1::Worker {
        session: view.session.0,
        name: view.name.to_string(),
        version: view.registration.version.clone(),
        device: view.registration.device.clone(),
        job_id: view.job.as_ref().map(ToString::to_string).unwrap_or_default(),
        silent_seconds: view.silent_seconds,
        shards_done: view.shards_done,
        busy: view.busy,
    }
}

fn kind(kind: NoticeKind) -> v1::NoticeKind {
    match kind {
        NoticeKind::Unknown => v1::NoticeKind::Unspecified,
        NoticeKind::State => v1::NoticeKind::State,
        NoticeKind::Checkpoint => v1::NoticeKind::Checkpoint,
        NoticeKind::CheckpointFailed => v1::NoticeKind::CheckpointFailed,
        NoticeKind::Storage => v1::NoticeKind::Storage,
        NoticeKind::Event => v1::NoticeKind::Event,
    }
}

pub(super) fn notice(notice: &Notice) -> v1::JobNotice {
    v1::JobNotice {
        revision: notice.revision,
        kind: kind(notice.kind).into(),
        state: state(notice.state).into(),
        message: notice.message.clone(),
        outer_step: notice.outer_step,
        at: Some(timestamp(notice.at)),
        total_outer_steps: notice.total_outer_steps,
        digest: notice.digest.map(String::from).unwrap_or_default(),
    }
}

/// The only conversion of errors to gRPC statuses.
pub(super) trait IntoStatus {
    fn into_status(self) -> Status;
}

impl IntoStatus for Status {
    fn into_status(self) -> Status {
        self
    }
}

impl IntoStatus for CallError {
    fn into_status(self) -> Status {
        let message = self.to_string();
        match self {
            CallError::NotFound(_) | CallError::NoCheckpoint { .. } | CallError::NoBest(_) => {
                Status::not_found(message)
            }
            CallError::Invalid(_) => Status::invalid_argument(message),
            CallError::RequestReused(_) => Status::already_exists(message),
            CallError::WrongState { .. } | CallError::NotEnded { .. } => Status::failed_precondition(message),
            CallError::Exhausted { .. } | CallError::Full { .. } => Status::resource_exhausted(message),
            CallError::Storage(StorageFailure { full: true, .. }) => Status::resource_exhausted(message),
            CallError::Storage(_) | CallError::Stopping | CallError::Unreadable(_) => {
                Status::unavailable(message)
            }
            CallError::NotAnnounced => Status::aborted(message),
            // As the protocol's own words for it: whether the call took effect is not known.
            CallError::Unsettled(_) => Status::unknown(message),
        }
    }
}

impl IntoStatus for ListError {
    fn into_status(self) -> Status {
        Status::invalid_argument(self.to_string())
    }
}

impl IntoStatus for FieldError {
    fn into_status(self) -> Status {
        Status::invalid_argument(self.to_string())
    }
}

impl IntoStatus for TransferError {
    fn into_status(self) -> Status {
        match self {
            TransferError::Checksum => Status::data_loss(self.to_string()),
            TransferError::MessageSize { .. } => Status::out_of_range(self.to_string()),
            _ => Status::invalid_argument(self.to_string()),
        }
    }
}

impl IntoStatus for IncomingError {
    fn into_status(self) -> Status {
        match self {
            IncomingError::Call(status) => status,
            IncomingError::Transfer(error) => error.into_status(),
        }
    }
}

impl IntoStatus for UploadError {
    fn into_status(self) -> Status {
        match self {
            UploadError::Invalid(error) => Status::invalid_argument(error.to_string()),
            UploadError::Store(error) => error.into_status(),
        }
    }
}

impl IntoStatus for StoreError {
    fn into_status(self) -> Status {
        match self {
            full if full.is_full() => {
                Status::resource_exhausted(format!("the coordinator's disk is full: {full}"))
            }
            // Until the disk works again: who watches a job meanwhile tries it again.
            Self::Closed | Self::Failing(_) => Status::unavailable(self.to_string()),
            other => Status::internal(other.to_string()),
        }
    }
}
