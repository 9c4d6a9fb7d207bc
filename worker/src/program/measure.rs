//! `measure`: how long a gradient of a job takes on this machine, and where its time goes, without a coordinator.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::{JobError, JobSpec, parse_toml};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::reduction::{Segment, effective_shards};
use serde::Serialize;

use crate::compute::{
    Backend, CandleBackend, ComputeError, Phase, PrepareError, PreparedJob, Request, RequestKind,
    compute_unwatched,
};
use crate::data::Cancellation;

/// Gradients that are computed before the measurement: libraries load their kernels and memory is allocated in the
/// first ones.
const WARM_UP: u32 = 3;

/// Arguments of `measure`.
#[derive(Debug, Args)]
pub(super) struct Measure {
    /// The job file; its data files are in the folder of --data
    #[arg(value_name = "JOB.toml")]
    job: PathBuf,
    /// Number of gradients to measure
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    gradients: u32,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeasureError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Job { path: PathBuf, source: JobError },
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Compute(#[from] ComputeError),
    #[error("the job's batches are empty")]
    Empty,
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl MeasureError {
    /// Whether another process may succeed.
    pub(super) fn is_of_lost_device(&self) -> bool {
        matches!(
            self,
            Self::Prepare(PrepareError::DeviceLost(_)) | Self::Compute(ComputeError::DeviceLost(_))
        )
    }
}

/// The results.
#[derive(Debug, Serialize)]
struct Measured {
    device: String,
    class: String,
    precision: String,
    /// Samples and shards of a batch.
    samples: u64,
    shards: u32,
    gradients: usize,
    seconds: Seconds,
    samples_per_second: f64,
    /// Most bytes in use at once on the devices; `None` if the job is computed in the host's memory, and if a driver
    /// does not report it.
    device_memory_bytes: Option<u64>,
    /// Mean seconds of each phase in a gradient, by the devices' own clocks, averaged over the devices.
    timeline: Vec<PhaseSeconds>,
}

#[derive(Debug, Serialize)]
struct Seconds {
    best: f64,
    median: f64,
}

#[derive(Debug, Serialize)]
struct PhaseSeconds {
    phase: &'static str,
    seconds: f64,
}

impl Measure {
    /// Measures and prints.
    pub(super) fn run(&self, backend: &CandleBackend) -> Result<(), MeasureError> {
        let spec = read(&self.job)?;
        let job = backend.prepare(&spec, &Cancellation::default())?;
        let measured = self.measured(backend, &spec, job)?;
        if self.json {
            println!("{}", serde_json::to_string(&measured)?);
        } else {
            print(&measured);
        }
        Ok(())
    }

    fn measured(
        &self,
        backend: &CandleBackend,
        spec: &JobSpec,
        job: Box<dyn PreparedJob>,
    ) -> Result<Measured, MeasureError> {
        let mut run = Run::new(spec, job)?;
        run.gradients(WARM_UP)?;
        run.job.device_memory()?;
        let mut times = run.gradients(self.gradients)?;
        times.sort();
        let device_memory_bytes = run.job.device_memory()?;
        // `times` is not empty: the parser requires at least one gradient.
        let (best, median) = (times[0].as_secs_f64(), times[times.len() / 2].as_secs_f64());
        Ok(Measured {
            device: backend.device(),
            class: backend.class_description(spec.train.precision),
            precision: format!("{:?}", spec.train.precision).to_lowercase(),
            samples: run.samples,
            shards: run.shards,
            gradients: times.len(),
            seconds: Seconds { best, median },
            samples_per_second: run.samples as f64 / median,
            device_memory_bytes,
            // Recording events on the streams costs a little time, so the timeline has gradients of its own.
            timeline: run.timeline(self.gradients)?,
        })
    }
}

/// A job whose gradients are computed at its initial weights, batch after batch.
struct Run {
    job: Box<dyn PreparedJob>,
    weights: ModelState<FlatBuffer>,
    samples: u64,
    shards: u32,
    batches: u64,
    next: u64,
}

impl Run {
    fn new(spec: &JobSpec, job: Box<dyn PreparedJob>) -> Result<Self, MeasureError> {
        let train_samples = job.description().train_samples;
        let samples = spec.train.batch_size.min(train_samples);
        let batches = train_samples.checked_div(samples).ok_or(MeasureError::Empty)?;
        let weights = job.initial_state()?;
        let shards = effective_shards(samples, spec.train.shards);
        Ok(Self { job, weights, samples, shards, batches, next: 0 })
    }

    /// The time of each gradient, including the transfer of the weights.
    fn gradients(&mut self, count: u32) -> Result<Vec<Duration>, ComputeError> {
        (0..count).map(|_| self.gradient()).collect()
    }

    fn gradient(&mut self) -> Result<Duration, ComputeError> {
        let batch = self.next % self.batches;
        self.next += 1;
        let request = Request { kind: RequestKind::Gradient, epoch: 0, batch, shards: self.shards };
        let begun = Instant::now();
        self.job.load(self.weights.values())?;
        compute_unwatched(self.job.as_mut(), &request, Segment::root(self.shards))?;
        Ok(begun.elapsed())
    }

    /// Seconds of each phase of a gradient, and of waiting: the time in which no computing stream was busy.
    fn timeline(&mut self, count: u32) -> Result<Vec<PhaseSeconds>, ComputeError> {
        self.job.timings()?;
        let whole: Duration = self.gradients(count)?.into_iter().sum();
        let devices = self.job.timings()?;
        if devices.iter().all(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let each = f64::from(count) * devices.len() as f64;
        let seconds = |phase: Phase| {
            let took =
                devices.iter().flatten().filter(|timing| timing.phase == phase).map(|timing| timing.took);
            took.sum::<Duration>().as_secs_f64() / each
        };
        let mut timeline: Vec<PhaseSeconds> = PHASES
            .iter()
            .map(|&(phase, name)| PhaseSeconds { phase: name, seconds: seconds(phase) })
            .collect();
        // Samples are copied on a stream of their own, in parallel to the computing.
        let busy: f64 = PHASES
            .iter()
            .filter(|(phase, _)| *phase != Phase::Samples)
            .map(|&(phase, _)| seconds(phase))
            .sum();
        let waiting = (whole.as_secs_f64() / f64::from(count) - busy).max(0.0);
        timeline.push(PhaseSeconds { phase: "waiting", seconds: waiting });
        Ok(timeline)
    }
}

/// Names of the phases, in the order in which they occur.
const PHASES: [(Phase, &str); 7] = [
    (Phase::Weights, "weights to device"),
    (Phase::Samples, "samples to device"),
    (Phase::Forward, "forward"),
    (Phase::Loss, "loss"),
    (Phase::Backward, "backward"),
    (Phase::Sum, "sum"),
    (Phase::Gradient, "gradient to host"),
];

fn read(path: &Path) -> Result<JobSpec, MeasureError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| MeasureError::Read { path: path.to_owned(), source })?;
    let spec = parse_toml(&text).and_then(|file| file.validate());
    spec.map_err(|source| MeasureError::Job { path: path.to_owned(), source })
}

fn print(measured: &Measured) {
    let Measured { device, class, precision, samples, shards, gradients, seconds, .. } = measured;
    println!("{device}\nclass: {class}");
    println!("{gradients} gradients of {samples} samples in {shards} shards, {precision}");
    println!("a gradient: {:.3} ms best, {:.3} ms median", seconds.best * 1e3, seconds.median * 1e3);
    println!("{:.0} samples per second", measured.samples_per_second);
    if let Some(bytes) = measured.device_memory_bytes {
        println!("{} MiB of the device's memory at most", bytes >> 20);
    }
    for PhaseSeconds { phase, seconds } in &measured.timeline {
        println!("  {phase:<20} {:>9.3} ms", seconds * 1e3);
    }
}
