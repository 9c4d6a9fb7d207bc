//! What an outer step has measured so far, and the metrics that come of it.

use std::collections::BTreeSet;
use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::SessionId;
use lookbehind_common::optimizer::OuterStepReport;
use lookbehind_common::partial::Sums;
use lookbehind_common::sampling::Position;
use lookbehind_proto::v1;

use crate::state::event::Busy;
use crate::state::halt::Halt;
use crate::state::observation::{RequestTimeline, StepTimeline};
use crate::state::request::Request;
use crate::training::Advance;

/// Measurements of one outer step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    /// Outer steps done before it.
    pub(crate) outer_step: u64,
    /// Where it began.
    pub(crate) position: Position,
    /// Samples in its batches.
    pub(crate) samples: u64,
    /// Where they begin in the order of the epoch.
    pub(crate) first_sample: u64,
    /// Learning rate.
    pub(crate) learning_rate: f64,
    /// Pieces of work given out so far, the one on the test split included.
    pub(crate) requests: u32,
    /// What the optimizer reported at the end, and the digest of the slow weights then.
    pub(crate) report: Option<(OuterStepReport, Digest)>,
    begun: Duration,
    first: Option<Sums>,
    last: Option<Sums>,
    test: Option<Sums>,
    busy: Busy,
    optimizer: f64,
    waiting: f64,
    workers: BTreeSet<SessionId>,
    works_done: Vec<RequestTimeline>,
}

impl Step {
    pub(crate) fn new(position: Position, now: Duration) -> Self {
        Self { outer_step: position.outer_step, position, begun: now, ..Self::default() }
    }

    /// Notes a complete request.
    pub(crate) fn note_request(&mut self, request: &mut Request, now: Duration) {
        self.works_done.push(request.timeline(self.begun, now));
        self.busy += request.busiest();
        self.waiting += request.waiting(now);
        self.workers.extend(request.contributors());
    }

    /// Notes how long the arithmetic took and what it summed.
    pub(crate) fn note_advance(&mut self, advance: &Advance) {
        self.optimizer += advance.seconds;
        if advance.sums.is_some() {
            self.first = self.first.or(advance.sums);
            self.last = advance.sums;
        }
        if let Some(request) = self.works_done.last_mut() {
            request.reduction = advance.reduction;
            request.optimizer = advance.seconds - advance.reduction;
        }
    }

    /// When it did what; it is done now.
    pub(crate) fn timeline(&mut self, now: Duration) -> StepTimeline {
        StepTimeline {
            outer_step: self.outer_step + 1,
            length: now.saturating_sub(self.begun),
            requests: std::mem::take(&mut self.works_done),
        }
    }

    /// Notes the result on the test split.
    pub(crate) fn note_test(&mut self, sums: Sums) {
        self.test = Some(sums);
    }

    /// The metrics of the finished step, computed in a class that is named where there is one.
    ///
    /// # Errors
    /// When the step is not finished.
    pub(super) fn metrics(&self, compute_class: String, now: Duration) -> Result<v1::OuterStepMetrics, Halt> {
        const UNFINISHED: Halt =
            Halt::Broken("an outer step that ends has gradients and the optimizer's report");
        let first = self.first.ok_or(UNFINISHED)?;
        let last = self.last.ok_or(UNFINISHED)?;
        let (report, digest) = self.report.ok_or(UNFINISHED)?;
        let test = self.test.map(|sums| v1::TestMetrics {
            loss: sums.mean_loss(),
            accuracy: sums.accuracy(),
            samples: sums.samples,
        });
        Ok(v1::OuterStepMetrics {
            outer_step: self.outer_step + 1,
            epoch: self.position.epoch,
            loss: first.mean_loss(),
            last_loss: last.mean_loss(),
            accuracy: first.accuracy(),
            gradient_norm: report.gradient_norm,
            learning_rate: self.learning_rate,
            alpha: report.alpha,
            samples: self.samples,
            gradients: report.gradients,
            time: Some(self.time(now)),
            test,
            digest: digest.into(),
            workers: self.workers.len() as u32,
            first_sample: self.first_sample,
            compute_class,
        })
    }

    fn time(&self, now: Duration) -> v1::TimeSplit {
        let total = now.saturating_sub(self.begun).as_secs_f64();
        let known = self.busy.total() + self.optimizer + self.waiting;
        v1::TimeSplit {
            total,
            compute: self.busy.compute,
            data: self.busy.data,
            communication: (total - known).max(0.0),
            optimizer: self.optimizer,
            waiting: self.waiting,
        }
    }
}
