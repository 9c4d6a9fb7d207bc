//! Measurements of the current outer step, and the metrics and timeline made from them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::SessionId;
use lookbehind_common::optimizer::OuterStepReport;
use lookbehind_common::partial::Sums;
use lookbehind_common::sampling::Position;
use lookbehind_common::test_set::TestSet;
use lookbehind_proto::v1;

use crate::state::event::Busy;
use crate::state::exchange::Suspect;
use crate::state::halt::Halt;
use crate::state::observation::{RequestTimeline, StepTimeline};
use crate::state::request::Request;
use crate::training::Advance;

/// Measurements of one outer step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    /// Number of outer steps done before it.
    pub(crate) outer_step: u64,
    /// Position at which it began.
    pub(crate) position: Position,
    /// Number of samples in its batches.
    pub(crate) samples: u64,
    /// Index of its first sample in the order of the epoch.
    pub(crate) first_sample: u64,
    pub(crate) learning_rate: f64,
    /// Number of requests issued so far, a test request included: the index of the next one.
    pub(crate) requests: u32,
    /// Report of the optimizer and digest of the slow weights at the end of the step; `None` before.
    pub(crate) report: Option<(OuterStepReport, Digest)>,
    /// Names of the workers whose partials were not finite.
    pub(crate) not_finite: BTreeSet<String>,
    /// Workers that sent values that are not finite in an exchange of the current gradient.
    pub(crate) suspects: Vec<Suspect>,
    /// Whether further partials of this outer step go through the coordinator.
    pub(crate) through_coordinator: bool,
    begun: Duration,
    first: Option<Sums>,
    last: Option<Sums>,
    /// Results of the tests after the step.
    tests: BTreeMap<TestSet, Sums>,
    busy: Busy,
    optimizer: f64,
    waiting: f64,
    workers: BTreeSet<SessionId>,
    /// Gradient requests whose workers exchanged their partials with each other.
    exchanged: u32,
    request_timelines: Vec<RequestTimeline>,
}

impl Step {
    pub(crate) fn new(position: Position, now: Duration) -> Self {
        Self { outer_step: position.outer_step, position, begun: now, ..Self::default() }
    }

    /// Notes a complete request.
    pub(crate) fn note_request(&mut self, request: &mut Request, now: Duration) {
        self.request_timelines.push(request.timeline(self.begun, now));
        self.exchanged += u32::from(request.exchange.is_some());
        self.busy += request.busiest();
        self.waiting += request.waiting(now);
        self.workers.extend(request.contributors());
    }

    /// Notes duration and sums of a computation of the trainer.
    pub(crate) fn note_advance(&mut self, advance: &Advance) {
        self.optimizer += advance.seconds;
        if advance.sums.is_some() {
            self.first = self.first.or(advance.sums);
            self.last = advance.sums;
        }
        if let Some(request) = self.request_timelines.last_mut() {
            request.reduction = advance.reduction;
            request.optimizer = advance.seconds - advance.reduction;
        }
    }

    /// The timeline of the step, which ends now. Takes the requests: a second call would find none.
    pub(crate) fn timeline(&mut self, now: Duration) -> StepTimeline {
        StepTimeline {
            outer_step: self.outer_step + 1,
            length: now.saturating_sub(self.begun),
            requests: std::mem::take(&mut self.request_timelines),
        }
    }

    /// Why the job cannot continue if a value of this step is not finite, and what usually helps.
    pub(crate) fn diverged(&self, reason: &str) -> String {
        let workers: Vec<&str> = self.not_finite.iter().map(String::as_str).collect();
        let of = match workers.as_slice() {
            [] => String::new(),
            workers => format!("; the partials of these workers were not: {}", workers.join(", ")),
        };
        format!(
            "outer step {}: {reason}{of}; unless the data hold such values, training has diverged: try a smaller learning \
             rate (optimizer.base.lr) or, with ascents, a smaller optimizer.rho",
            self.outer_step
        )
    }

    /// The results of the tests after the step on these samples, if they were tested.
    pub(crate) fn tested(&self, set: TestSet) -> Option<Sums> {
        self.tests.get(&set).copied()
    }

    /// Notes the result of a test.
    pub(crate) fn note_test(&mut self, set: TestSet, sums: Sums) {
        self.tests.insert(set, sums);
    }

    /// The metrics of the finished step. `compute_class` may be empty: see `Job::named_class`.
    ///
    /// # Errors
    /// If the step is not finished.
    pub(super) fn metrics(&self, compute_class: String, now: Duration) -> Result<v1::OuterStepMetrics, Halt> {
        const UNFINISHED: Halt =
            Halt::Broken("an outer step that ends has gradients and the optimizer's report");
        let first = self.first.ok_or(UNFINISHED)?;
        let last = self.last.ok_or(UNFINISHED)?;
        let (report, digest) = self.report.ok_or(UNFINISHED)?;
        let test = |set: TestSet| {
            let sums = self.tests.get(&set);
            sums.map(|sums| v1::TestMetrics {
                loss: sums.mean_loss(),
                accuracy: sums.accuracy(),
                samples: sums.samples,
            })
        };
        Ok(v1::OuterStepMetrics {
            outer_step: self.outer_step + 1,
            epoch: self.position.epoch,
            loss: first.mean_loss(),
            last_loss: last.last_mean_loss(),
            accuracy: first.accuracy(),
            gradient_norm: first.visits.is_none().then_some(report.gradient_norm),
            mean_shard_gradient_norm: first.visits.is_some().then_some(report.gradient_norm),
            learning_rate: self.learning_rate,
            alpha: report.alpha,
            alpha_min: report.alpha_range.map(|[least, _]| least),
            alpha_max: report.alpha_range.map(|[_, greatest]| greatest),
            samples: self.samples,
            gradients: report.gradients,
            time: Some(self.time(now)),
            test: test(TestSet::Test),
            validation: test(TestSet::Validation),
            clean: test(TestSet::Clean),
            memorised: test(TestSet::Memorised),
            digest: digest.into(),
            workers: self.workers.len() as u32,
            first_sample: self.first_sample,
            compute_class,
            exchanged: self.exchanged,
        })
    }

    /// Splits the duration of the step into parts that add up to it. What workers report is bounded by what is left of it.
    /// While others wait, the busiest worker of a request usually computes: that time counts as computing. Communication is
    /// not measured: it is what the other parts leave of the total.
    fn time(&self, now: Duration) -> v1::TimeSplit {
        let total = now.saturating_sub(self.begun).as_secs_f64();
        let mut left = total;
        let mut part = |seconds: f64| {
            let part = seconds.max(0.0).min(left);
            left -= part;
            part
        };
        let optimizer = part(self.optimizer);
        let (compute, data) = (part(self.busy.compute), part(self.busy.data));
        let waiting = part(self.waiting);
        v1::TimeSplit { total, compute, data, communication: left, optimizer, waiting }
    }
}

#[cfg(test)]
mod tests;
