//! The series of one job: its progress and where its time goes.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lookbehind_common::ids::JobId;
use lookbehind_proto::v1;
use lookbehind_telemetry::metrics::Seconds;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{JobLabel, PartLabel};

/// How long the series of a job that has ended stay, so that Prometheus can scrape their last values.
const LINGER: Duration = Duration::from_secs(600);
/// Jobs that have ended and have series; those of older ones are removed early.
const ENDED: usize = 1000;

/// A gauge of a real value instead of a count.
pub(super) type Real = Gauge<f64, AtomicU64>;

#[derive(Default)]
pub(super) struct JobSeries {
    outer_steps: Family<JobLabel, Counter>,
    samples: Family<JobLabel, Counter>,
    gradients: Family<JobLabel, Counter>,
    seconds: Family<PartLabel, Seconds>,
    loss: Family<JobLabel, Real>,
    perturbed_loss: Family<JobLabel, Real>,
    accuracy: Family<JobLabel, Real>,
    test_accuracy: Family<JobLabel, Real>,
    test_loss: Family<JobLabel, Real>,
    gradient_norm: Family<JobLabel, Real>,
    mean_shard_gradient_norm: Family<JobLabel, Real>,
    alpha: Family<JobLabel, Real>,
    learning_rate: Family<JobLabel, Real>,
    progress: Family<JobLabel, Real>,
    /// Jobs that have ended and when, in that order.
    ended: Mutex<VecDeque<(Instant, JobId)>>,
}

const PARTS: [&str; 5] = ["compute", "data", "communication", "optimizer", "waiting"];

impl JobSeries {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("outer_steps", "Outer steps done", self.outer_steps.clone());
        registry.register("samples", "Samples consumed by outer steps", self.samples.clone());
        registry.register("gradients", "Gradients of whole batches", self.gradients.clone());
        let help = "Where the time of outer steps went";
        registry.register_with_unit("step", help, Unit::Seconds, self.seconds.clone());
        for (name, help, family) in self.gauges() {
            registry.register(name, help, family.clone());
        }
    }

    /// All gauges of the job's present state.
    fn gauges(&self) -> [(&'static str, &'static str, &Family<JobLabel, Real>); 10] {
        [
            ("job_loss", "Mean loss at the slow weights", &self.loss),
            ("job_perturbed_loss", "Mean loss at the last perturbed weights", &self.perturbed_loss),
            ("job_accuracy", "Share of the batch classified rightly at the slow weights", &self.accuracy),
            ("job_test_accuracy", "Share of the test split classified rightly", &self.test_accuracy),
            ("job_test_loss", "Mean loss on the test split", &self.test_loss),
            ("job_gradient_norm", "Euclidean norm of the first gradient", &self.gradient_norm),
            (
                "job_mean_shard_gradient_norm",
                "Mean over the shards of the Euclidean norms of their first gradients",
                &self.mean_shard_gradient_norm,
            ),
            ("job_alpha", "Interpolation factor of the slow weights", &self.alpha),
            ("job_learning_rate", "Learning rate", &self.learning_rate),
            ("job_progress_ratio", "Outer steps done of all", &self.progress),
        ]
    }

    #[expect(clippy::expect_used, reason = "the state machine gives every step its times")]
    pub(super) fn note(&self, job: &JobId, step: &v1::OuterStepMetrics, outer_steps: u64) {
        let label = JobLabel { job_id: job.to_string() };
        self.outer_steps.get_or_create(&label).inc();
        self.samples.get_or_create(&label).inc_by(step.samples);
        self.gradients.get_or_create(&label).inc_by(u64::from(step.gradients));
        let time = step.time.expect("an outer step has its times");
        let seconds = [time.compute, time.data, time.communication, time.optimizer, time.waiting];
        for (part, seconds) in PARTS.into_iter().zip(seconds) {
            let label = PartLabel { job_id: label.job_id.clone(), part };
            self.seconds.get_or_create(&label).inc_by(seconds.max(0.0));
        }
        self.loss.get_or_create(&label).set(step.loss);
        self.perturbed_loss.get_or_create(&label).set(step.last_loss);
        self.accuracy.get_or_create(&label).set(step.accuracy);
        if let Some(norm) = step.gradient_norm {
            self.gradient_norm.get_or_create(&label).set(norm);
        }
        if let Some(norm) = step.mean_shard_gradient_norm {
            self.mean_shard_gradient_norm.get_or_create(&label).set(norm);
        }
        self.alpha.get_or_create(&label).set(step.alpha);
        self.learning_rate.get_or_create(&label).set(step.learning_rate);
        self.progress.get_or_create(&label).set(step.outer_step as f64 / outer_steps.max(1) as f64);
        if let Some(test) = &step.test {
            self.test_accuracy.get_or_create(&label).set(test.accuracy);
            self.test_loss.get_or_create(&label).set(test.loss);
        }
    }

    fn ended(&self) -> MutexGuard<'_, VecDeque<(Instant, JobId)>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job has ended: its series stay for a while.
    pub(super) fn end(&self, job: &JobId) {
        self.ended().push_back((Instant::now(), job.clone()));
        // Not only at scrapes, because perhaps nobody scrapes.
        self.remove_ended();
    }

    /// Removes the series of jobs that ended long ago.
    pub(super) fn remove_ended(&self) {
        let mut ended = self.ended();
        while ended.len() > ENDED || ended.front().is_some_and(|(since, _)| since.elapsed() > LINGER) {
            let Some((_, job)) = ended.pop_front() else { return };
            self.remove(&job);
        }
    }

    /// The job was deleted.
    pub(super) fn delete(&self, job: &JobId) {
        self.ended().retain(|(_, ended)| ended != job);
        self.remove(job);
    }

    fn remove(&self, job: &JobId) {
        let label = JobLabel { job_id: job.to_string() };
        for counter in [&self.outer_steps, &self.samples, &self.gradients] {
            counter.remove(&label);
        }
        for part in PARTS {
            self.seconds.remove(&PartLabel { job_id: label.job_id.clone(), part });
        }
        for (_, _, gauge) in self.gauges() {
            gauge.remove(&label);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_have_ended_do_not_gather_where_nobody_scrapes() {
        let series = JobSeries::default();
        let step = v1::OuterStepMetrics { time: Some(v1::TimeSplit::default()), ..Default::default() };
        let job = |number: usize| JobId::from_entropy(number as u64);
        for number in 0..2 * ENDED {
            series.note(&job(number), &step, 1);
            series.end(&job(number));
        }
        assert_eq!(series.ended().len(), ENDED);
        series.delete(&job(2 * ENDED - 1));
        assert_eq!(series.ended().len(), ENDED - 1);
        let mut registry = Registry::default();
        series.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let losses = text.lines().filter(|line| line.starts_with("job_loss{")).count();
        assert_eq!(losses, ENDED - 1);
    }
}
