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

/// How long the series of a job that has ended or is paused stay, so that Prometheus can scrape their last values.
const LINGER: Duration = Duration::from_secs(600);
/// Jobs that rest and have series; those of older ones are removed early. Each job has about 17 series.
const RESTING: usize = 50;

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
    /// Jobs that have ended or are paused, and since when, in that order.
    resting: Mutex<VecDeque<(Instant, JobId)>>,
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

    fn resting(&self) -> MutexGuard<'_, VecDeque<(Instant, JobId)>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job has ended or is paused: its series stay for a while.
    pub(super) fn rest(&self, job: &JobId) {
        self.wake(job);
        self.resting().push_back((Instant::now(), job.clone()));
        // Not only at scrapes, because perhaps nobody scrapes.
        self.remove_resting();
    }

    /// The job goes on: what series it still has stay.
    pub(super) fn wake(&self, job: &JobId) {
        self.resting().retain(|(_, resting)| resting != job);
    }

    /// Removes the series of jobs that have rested for long.
    pub(super) fn remove_resting(&self) {
        let mut resting = self.resting();
        while resting.len() > RESTING || resting.front().is_some_and(|(since, _)| since.elapsed() > LINGER) {
            let Some((_, job)) = resting.pop_front() else { return };
            self.remove(&job);
        }
    }

    /// The job was deleted.
    pub(super) fn delete(&self, job: &JobId) {
        self.wake(job);
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

    fn job(number: usize) -> JobId {
        JobId::from_entropy(number as u64)
    }

    /// The number of series after what `act` does.
    fn series(series: &JobSeries) -> usize {
        let mut registry = Registry::default();
        series.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| line.contains("job_id=")).count()
    }

    fn step() -> v1::OuterStepMetrics {
        let test = Some(v1::TestMetrics::default());
        let (time, gradient_norm) = (Some(v1::TimeSplit::default()), Some(0.5));
        v1::OuterStepMetrics { time, gradient_norm, test, ..Default::default() }
    }

    #[test]
    fn the_number_of_series_is_bounded_whatever_number_of_jobs_there_were() {
        let jobs = JobSeries::default();
        jobs.note(&job(0), &step(), 1);
        let of_one = series(&jobs);
        assert_eq!(of_one, 17);
        for number in 1..2001 {
            jobs.note(&job(number), &step(), 1);
            jobs.rest(&job(number));
        }
        assert_eq!(series(&jobs), (1 + RESTING) * of_one, "of the running job, and of the last that ended");
        jobs.delete(&job(2000));
        assert_eq!(series(&jobs), RESTING * of_one);
    }

    #[test]
    fn a_paused_job_that_goes_on_keeps_its_series() {
        let jobs = JobSeries::default();
        jobs.note(&job(0), &step(), 1);
        jobs.rest(&job(0));
        jobs.wake(&job(0));
        for number in 1..=2 * RESTING {
            jobs.note(&job(number), &step(), 1);
            jobs.rest(&job(number));
        }
        jobs.note(&job(0), &step(), 1);
        assert_eq!(series(&jobs), (1 + RESTING) * 17);
        assert_eq!(jobs.outer_steps.get_or_create(&JobLabel { job_id: job(0).to_string() }).get(), 2);
    }
}
