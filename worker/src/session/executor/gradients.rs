//! Computes what is assigned: loads the weights first, then computes segment by segment.

use std::sync::Arc;
use std::time::Instant;

use lookbehind_common::reduction::Segment;
use lookbehind_proto::convert::digests_to_bytes;
use lookbehind_proto::v1;
use lookbehind_proto::v1::session_request::Message as Answer;

use super::Thread;
use super::loaded::{Loaded, Version};
use crate::compute::{ComputeError, RequestKind, Stopped, Watch};
use crate::session::backoff::Backoff;
use crate::session::command::{Assignment, Context, Generation};
use crate::session::exchange::Round;
use crate::session::transfer::{PartialUpload, Transfers, said};
use crate::telemetry::{Computed, Failure};

/// Why an assignment ends before all its segments have been tried.
enum Ended {
    /// The result is no longer wanted: a newer request is current, its weights are no longer served, or the session has
    /// ended.
    Unwanted,
    /// None of its segments can be computed here; the coordinator gives them to other workers, or fails the job.
    Failed(String),
    /// The weights cannot be downloaded.
    NotDownloaded(String),
    /// The session has become unusable: the weights do not fit the job.
    Broken(String),
    /// The device is lost, so the process must end.
    DeviceLost(String),
}

impl Thread {
    /// Computes an assignment's segments and queues their upload; errors are reported to the coordinator.
    pub(super) fn compute(&mut self, context: &Context, assignment: &Assignment) {
        match self.try_compute(context, assignment) {
            Ok(()) | Err(Ended::Unwanted) => {}
            Err(Ended::Failed(reason)) => {
                self.metrics.failed(Failure::Request);
                for segment in &assignment.segments {
                    context.send(request_failed(assignment, *segment, reason.clone()));
                }
            }
            Err(Ended::NotDownloaded(reason)) => {
                let failed = v1::TransferFailed {
                    job_id: assignment.id.job.to_string(),
                    request: Some((&assignment.id).into()),
                    segments: assignment.segments.iter().map(|segment| (*segment).into()).collect(),
                    reason,
                };
                context.transfer_failed(failed, &self.runtime, self.backoff.next());
            }
            Err(Ended::Broken(reason)) => context.broken(reason),
            Err(Ended::DeviceLost(reason)) => context.device_lost(reason),
        }
    }

    fn try_compute(&mut self, context: &Context, assignment: &Assignment) -> Result<(), Ended> {
        if !self.generation.is_current(assignment.number) {
            return Err(Ended::Unwanted);
        }
        self.take_weights(context, assignment)?;
        let watch: Arc<dyn Watch> = Arc::new(AssignmentWatch {
            generation: Arc::clone(&self.generation),
            transfers: context.transfers.clone(),
            number: assignment.number,
        });
        assignment
            .segments
            .iter()
            .try_for_each(|&segment| self.compute_segment(context, assignment, segment, &watch))
    }

    /// Makes sure that the loaded job holds the assignment's weights.
    fn take_weights(&mut self, context: &Context, assignment: &Assignment) -> Result<(), Ended> {
        let loaded = loaded(&mut self.loaded, assignment)?;
        let wanted = Version {
            session: context.transfers.fencing_token().clone(),
            number: assignment.weights_version,
        };
        if loaded.weights.as_ref() == Some(&wanted) {
            if let Some(round) = &assignment.round {
                round.has_no_weights();
            }
            return Ok(());
        }
        // Forgotten before the new ones are loaded: a load that fails leaves the job without usable weights.
        loaded.weights = None;
        let lengths = loaded.job.description().layout.lengths();
        let downloaded = match (&assignment.round, context.means()) {
            (Some(round), Some(means)) => {
                let begun = Instant::now();
                let digests = &assignment.weights_digests;
                let got = round.get_weights(&means, wanted.number, digests, self.exchanged_in);
                let got = self.runtime.block_on(context.transfers.until_session_ends(got));
                self.exchanged_in = Some(begun.elapsed());
                got.inspect_err(|_| round.has_no_weights())
            }
            _ => self.runtime.block_on(context.transfers.download(&loaded.id, wanted.number, lengths)),
        };
        let weights = downloaded.map_err(|status| {
            if context.transfers.is_over() {
                return Ended::Unwanted;
            }
            Ended::NotDownloaded(format!("weights: {}", said(&status)))
        })?;
        self.backoff = Backoff::default();
        let weights = weights.ok_or(Ended::Unwanted)?;
        loaded.job.load(weights.values()).map_err(|error| match error {
            ComputeError::DeviceLost(reason) => Ended::DeviceLost(reason),
            ComputeError::Device(reason) => Ended::Failed(format!("weights: {reason}")),
            error => Ended::Broken(error.to_string()),
        })?;
        loaded.weights = Some(wanted);
        Ok(())
    }

    /// Computes a segment and queues its upload. A failure ends the assignment only if the device is lost: other
    /// segments may succeed.
    fn compute_segment(
        &mut self,
        context: &Context,
        assignment: &Assignment,
        segment: Segment,
        watch: &Arc<dyn Watch>,
    ) -> Result<(), Ended> {
        let loaded = loaded(&mut self.loaded, assignment)?;
        let error = match timed_segment(loaded, assignment, segment, watch) {
            Ok(upload) => {
                self.metrics.computed(measured(assignment, &upload));
                if let (Some(round), RequestKind::Gradient) = (&assignment.round, assignment.request.kind) {
                    offer(context, round, upload);
                    return Ok(());
                }
                // The receiver is dropped only when the session has ended.
                return context.uploads.blocking_send(upload).map_err(|_| Ended::Unwanted);
            }
            Err(Stopped::Superseded) => return Err(Ended::Unwanted),
            Err(Stopped::Failed(error)) => error,
        };
        self.metrics.failed(Failure::Request);
        context.send(request_failed(assignment, segment, error.to_string()));
        match error {
            ComputeError::DeviceLost(reason) => Err(Ended::DeviceLost(reason)),
            _ => Ok(()),
        }
    }
}

/// Offers a computed partial to the workers that own its blocks, and announces it to the coordinator.
fn offer(context: &Context, round: &Round, upload: PartialUpload) {
    let PartialUpload { request, segment, partial, compute_seconds, data_seconds, .. } = upload;
    let sums = partial.sums;
    let digests = round.offer(segment, partial);
    context.send(Answer::Computed(v1::Computed {
        request: Some((&request).into()),
        segment: Some(segment.into()),
        loss_sum: sums.loss,
        correct: sums.correct,
        samples: sums.samples,
        compute_seconds,
        data_seconds,
        digests: digests_to_bytes(&digests),
        visits: sums.visits.map(v1::VisitSums::from),
    }));
}

/// The job of an assignment. A coordinator assigns segments only between the report that the job is loaded and its
/// release, so a missing job is an error.
fn loaded<'a>(loaded: &'a mut Option<Loaded>, assignment: &Assignment) -> Result<&'a mut Loaded, Ended> {
    let loaded = loaded.as_mut().filter(|loaded| loaded.id == assignment.id.job);
    loaded.ok_or_else(|| Ended::Failed("the job is not loaded".to_owned()))
}

/// Computes a segment and measures its time.
fn timed_segment(
    loaded: &mut Loaded,
    assignment: &Assignment,
    segment: Segment,
    watch: &Arc<dyn Watch>,
) -> Result<PartialUpload, Stopped> {
    let (begun, waited) = (Instant::now(), loaded.job.waited_for_data());
    let partial = loaded.job.segment(&assignment.request, segment, watch)?;
    let data_seconds = (loaded.job.waited_for_data() - waited).as_secs_f64();
    let compute_seconds = (begun.elapsed().as_secs_f64() - data_seconds).max(0.0);
    tracing::debug!(job = %loaded.id, compute_seconds, data_seconds, "segment computed");
    let (request, format) = (assignment.id.clone(), loaded.exchange);
    Ok(PartialUpload { request, segment, partial, format, compute_seconds, data_seconds })
}

fn measured(assignment: &Assignment, upload: &PartialUpload) -> Computed {
    Computed {
        kind: assignment.request.kind,
        shards: upload.segment.len(),
        samples: upload.partial.sums.samples,
        compute_seconds: upload.compute_seconds,
        data_seconds: upload.data_seconds,
    }
}

fn request_failed(assignment: &Assignment, segment: Segment, reason: String) -> Answer {
    let (request, segment) = (Some((&assignment.id).into()), Some(segment.into()));
    Answer::RequestFailed(v1::RequestFailed { request, segment, reason })
}

/// The coordinator, waiting for an assignment.
struct AssignmentWatch {
    generation: Arc<Generation>,
    /// Counts the progress that heartbeats report.
    transfers: Transfers,
    number: u64,
}

impl Watch for AssignmentWatch {
    fn advance(&self) {
        self.transfers.advance();
    }

    fn is_superseded(&self) -> bool {
        !self.generation.is_current(self.number)
    }
}
