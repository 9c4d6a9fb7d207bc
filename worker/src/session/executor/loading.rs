//! Loading jobs, and sending the initial weights of the loaded job.

use std::sync::PoisonError;

use lookbehind_common::ids::JobId;
use lookbehind_common::job::{JobError, JobSpec, TrainSpec};
use lookbehind_common::optimizer::partial_lengths;
use lookbehind_proto::v1;
use lookbehind_proto::v1::session_request::Message as Answer;
use lookbehind_proto::wire;
use prost::Message;
use tonic::Code;

use super::{Loaded, Thread};
use crate::compute::PrepareError;
use crate::data::Cancellation;
use crate::session::backoff::Backoff;
use crate::session::command::{Context, Lengths};
use crate::session::transfer::said;
use crate::telemetry::Failure;

/// Why initial weights were not sent or not accepted.
enum NotSent {
    /// The job has its weights from another worker, or no longer wants any.
    NotWanted(String),
    /// The worker has none, or the coordinator does not accept them: another worker has to send its own.
    Refused(String),
    /// The session has ended.
    Over,
    /// The transfer failed.
    Failed(String),
}

impl Thread {
    /// Loads a job, and answers with its description or with the reason for failing.
    pub(super) fn prepare(
        &mut self,
        context: &Context,
        id: &JobId,
        spec: &v1::JobSpec,
        cancellation: &Cancellation,
    ) {
        let error = match self.load(id, spec, cancellation) {
            Ok(prepared) => return context.send(Answer::Prepared(prepared)),
            Err(error) => error,
        };
        let failure = match error {
            PrepareError::Job(_) => v1::PrepareFailure::Job,
            PrepareError::Worker(_) => v1::PrepareFailure::Worker,
            PrepareError::DeviceLost(_) => v1::PrepareFailure::Device,
            // The coordinator has taken the job back, so it expects no answer.
            PrepareError::Cancelled => return tracing::info!(job = %id, "loading was cancelled"),
        };
        let reason = error.to_string();
        tracing::warn!(job = %id, reason, "job could not be loaded");
        self.prepare_failed(context, id, failure, reason);
        if let PrepareError::DeviceLost(reason) = error {
            context.device_lost(reason);
        }
    }

    fn load(
        &mut self,
        id: &JobId,
        spec: &v1::JobSpec,
        cancellation: &Cancellation,
    ) -> Result<v1::Prepared, PrepareError> {
        let encoded = spec.encode_to_vec();
        // Another job is dropped before the new one is loaded, because both may not fit into memory.
        let known = self.loaded.take().filter(|loaded| loaded.id == *id && loaded.spec == encoded);
        let loaded = match known {
            Some(loaded) => Loaded { weights: None, ..loaded },
            None => self.load_new(id, spec, encoded, cancellation)?,
        };
        let prepared = v1::Prepared {
            job_id: id.to_string(),
            description: Some(loaded.job.description().into()),
            probe_digest: loaded.job.probe().0.to_vec().into(),
            class_description: self.backend.class_description(loaded.precision),
        };
        let layout = &loaded.job.description().layout;
        let lengths = Lengths {
            weights: layout.lengths(),
            partials: partial_lengths(&loaded.optimizer, layout),
            format: loaded.exchange,
        };
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some((id.clone(), lengths));
        self.loaded = Some(loaded);
        Ok(prepared)
    }

    fn load_new(
        &self,
        id: &JobId,
        spec: &v1::JobSpec,
        encoded: Vec<u8>,
        cancellation: &Cancellation,
    ) -> Result<Loaded, PrepareError> {
        let in_spec = |error: JobError| PrepareError::Job(error.to_string());
        let checked: JobSpec = wire::from_proto(spec).and_then(|file| file.validate()).map_err(in_spec)?;
        let job = self.backend.prepare(&checked, cancellation)?;
        let TrainSpec { precision, exchange, .. } = checked.train;
        let optimizer = checked.optimizer;
        Ok(Loaded { id: id.clone(), spec: encoded, precision, exchange, optimizer, job, weights: None })
    }

    /// Sends a job's initial weights, or reports why not.
    pub(super) fn send_initial_state(&mut self, context: &Context, id: &JobId) {
        match self.try_send_initial_state(context, id) {
            Ok(()) => self.backoff = Backoff::default(),
            Err(NotSent::NotWanted(reason)) => {
                tracing::debug!(job = %id, reason, "initial weights are not wanted");
            }
            Err(NotSent::Refused(reason)) => {
                let reason = format!("initial weights: {reason}");
                self.prepare_failed(context, id, v1::PrepareFailure::Worker, reason);
            }
            Err(NotSent::Over) => {}
            Err(NotSent::Failed(reason)) => {
                self.metrics.failed(Failure::Upload);
                let failed = v1::TransferFailed {
                    job_id: id.to_string(),
                    request: None,
                    segments: Vec::new(),
                    reason: format!("initial weights: {reason}"),
                };
                context.transfer_failed(failed, &self.runtime, self.backoff.next());
            }
        }
    }

    fn try_send_initial_state(&self, context: &Context, id: &JobId) -> Result<(), NotSent> {
        let loaded = self.loaded.as_ref().filter(|loaded| loaded.id == *id);
        let loaded = loaded.ok_or_else(|| NotSent::Refused("the job is not loaded".to_owned()))?;
        let initial = loaded.job.initial_state();
        let initial = initial.map_err(|error| NotSent::Refused(error.to_string()))?;
        let upload = context.transfers.upload_initial_state(id, initial);
        self.runtime.block_on(upload).map_err(|status| match status.code() {
            Code::FailedPrecondition => NotSent::NotWanted(said(&status)),
            Code::InvalidArgument => NotSent::Refused(status.message().to_owned()),
            _ if context.transfers.is_over() => NotSent::Over,
            _ => NotSent::Failed(said(&status)),
        })
    }

    fn prepare_failed(&self, context: &Context, id: &JobId, failure: v1::PrepareFailure, reason: String) {
        self.metrics.failed(Failure::Prepare);
        let failed = v1::PrepareFailed { job_id: id.to_string(), failure: failure.into(), reason };
        context.send(Answer::PrepareFailed(failed));
    }
}
