//! A cluster whose coordinator and workers are on hosts behind links, and what an exchange costs there.

use std::time::{Duration, Instant};

use lookbehind_common::job::parse_toml;
use lookbehind_identity::{Access, Folder, Role as Holder, Wanted, provide};
use lookbehind_proto::{v1, wire};
use tempfile::TempDir;

use super::cluster::{BenchJob, watch};
use super::hosts::{Host, Hosts};
use super::processors::{peak_bytes, processor_seconds, processors};
use super::roles::{Process, Role};
use super::setup::{Load, Placement, Setup};
use super::{Failure, Processors, Samples};

/// Outer steps with all workers that are not measured.
const WARMUP: u64 = 1;
/// Outer steps for which it is waited until all workers take part.
const JOINING: u64 = 2;
/// Outer steps for each gradient that is measured, since not all of them have all workers.
const SPARE: u64 = 4;

/// What exchanges cost; means, unless stated otherwise.
#[derive(Default)]
pub struct Measured {
    /// Seconds of each exchange: of an outer step of one round, without computing.
    pub seconds: Samples,
    /// Seconds of each of these outer steps in which the worker that needed longest computed.
    pub computing: Samples,
    /// Shards that each worker delivered in an outer step, in the order of the workers' names.
    pub shards: Vec<f64>,
    /// Of these, the seconds in which the coordinator added partials and updated weights.
    pub optimizer: Samples,
    /// Number of exchanges measured.
    pub gradients: u64,
    /// When the last outer step that was measured began and ended.
    pub last: Option<(Instant, Instant)>,
    /// Share of all processors that the whole machine used, from 0 to 1.
    pub processors: f64,
    /// Share of all processors that the cluster's processes used; it lacks much of what the links cost.
    pub own_processors: f64,
    /// Bytes that the coordinator's host received for each exchange.
    pub received: f64,
    /// Bytes that it sent for each exchange.
    pub sent: f64,
    /// Peak memory of the coordinator in bytes.
    pub coordinator_peak: f64,
    /// Peak memory in bytes of the worker that took most.
    pub worker_peak: f64,
}

/// Seconds of outer steps in which a model was really trained.
#[derive(Clone, Debug, Default)]
pub struct Trained {
    /// From one to the next.
    pub total: Samples,
    /// In which the slowest worker computed.
    pub computing: Samples,
    /// The rest: transfers, sums and the update.
    pub other: Samples,
}

/// A coordinator and workers on hosts.
pub struct Spread<'a> {
    host: &'a Host,
    url: String,
    /// Folder of all credentials; `None` in plain text.
    credentials: Option<TempDir>,
    pub(super) workers: Vec<Process>,
    coordinator: Process,
}

impl<'a> Spread<'a> {
    /// Starts the processes.
    ///
    /// # Errors
    /// If there are not enough hosts, credentials cannot be created, or a process cannot be started.
    pub fn start(hosts: &'a Hosts, setup: &Setup) -> Result<Self, Failure> {
        Self::start_as(Role::Worker, hosts, setup)
    }

    /// As [`Spread::start`], with workers that can train models.
    ///
    /// # Errors
    /// As [`Spread::start`].
    pub fn start_trainers(hosts: &'a Hosts, placement: Placement, workers: usize) -> Result<Self, Failure> {
        Self::start_as(Role::Trainer, hosts, &Setup::new(placement, workers))
    }

    fn start_as(role: fn(String) -> Role, hosts: &'a Hosts, setup: &Setup) -> Result<Self, Failure> {
        let host = hosts.get(0)?;
        let credentials = setup.guarded.then(|| credentials(host)).transpose()?;
        let root = credentials.as_ref().map(|root| root.path().to_string_lossy().into_owned());
        let coordinator = format!("{} {}", setup.route_name(), root.as_deref().unwrap_or("-"));
        let mut coordinator = Role::OpenCoordinator(coordinator).spawn_on(host)?;
        let scheme = if setup.guarded { "https" } else { "http" };
        let url = format!("{scheme}://{}:{}", host.address, coordinator.line()?);
        let folder = root.map_or_else(|| "-".to_owned(), |root| format!("{root}/worker"));
        let worker = |(index, per_shard): (usize, &Duration)| {
            let argument = format!("{url} {folder} {}", per_shard.as_secs_f64());
            role(argument).spawn_on(hosts.get(setup.placement.first_worker() + index)?)
        };
        let workers = setup.per_shard.iter().enumerate().map(worker).collect::<Result<_, Failure>>()?;
        Ok(Self { host, url, credentials, workers, coordinator })
    }

    /// Measures the last `measured` of the `steps` outer steps of the job in a text.
    ///
    /// # Errors
    /// If the job does not succeed, or takes longer than `limit`.
    pub fn train(
        &self,
        text: &str,
        steps: usize,
        measured: usize,
        limit: Duration,
    ) -> Result<Trained, Failure> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("job.toml");
        std::fs::write(&file, text)?;
        let mut runner = self.runner(&format!("@{}", file.display()), steps as u64, limit)?;
        let mut trained = Trained::default();
        for step in 0..steps {
            let Step { total, compute, .. } = runner.step()?;
            if step + measured >= steps {
                trained.total.push(total);
                trained.computing.push(compute);
                trained.other.push(total - compute);
            }
        }
        Ok(trained)
    }

    /// Starts a process that runs a job of at most this many outer steps on all workers, and prints each of them. `model`:
    /// a [`Load`], or `@` and the file of a job.
    pub(super) fn runner(&self, model: &str, steps: u64, limit: Duration) -> Result<Runner, Failure> {
        let (workers, url) = (self.workers.len(), &self.url);
        let folder = self.credentials.as_ref().map(|root| root.path().join("admin"));
        let folder = folder.map_or_else(|| "-".to_owned(), |folder| folder.to_string_lossy().into_owned());
        let job = format!("{url} {folder} {workers} {model} {steps} {}", limit.as_secs());
        // The runner is on the coordinator's host, so that its messages do not cross the link.
        Ok(Runner(Role::Runner(job).spawn_on(self.host)?))
    }

    /// Measures `gradients` exchanges, unless they take longer than `limit` together.
    ///
    /// # Errors
    /// If the job does not succeed, or takes too long, or too few outer steps have all workers.
    pub fn measure(&self, load: Load, gradients: u64, limit: Duration) -> Result<Measured, Failure> {
        let (workers, skipped) = (self.workers.len(), JOINING + WARMUP);
        let steps = skipped + SPARE * gradients;
        let mut runner = self.runner(&load.to_string(), steps, limit)?;
        let mut measured = Measured::default();
        let mut before = self.reading()?;
        let mut delivered = Vec::new();
        for step in 1..=steps {
            let Step { together, total, compute, optimizer, shards } = runner.step()?;
            let now = self.reading()?;
            // The coordinator divides shards by measured speed, so that a worker may get none.
            if step > skipped && together == workers as f64 {
                measured.seconds.push(total - compute);
                measured.computing.push(compute);
                measured.optimizer.push(optimizer);
                measured.add(&now, &before);
                measured.add_shards(&shards, &delivered);
                measured.last = Some((before.at, now.at));
            }
            (before, delivered) = (now, shards);
            if measured.gradients == gradients {
                break;
            }
        }
        if measured.gradients < gradients {
            let found = measured.gradients;
            return Err(format!("only {found} of {steps} outer steps had all {workers} workers").into());
        }
        let peaks = self.workers.iter().map(|worker| peak_bytes(worker.id()));
        measured.worker_peak = peaks.collect::<Result<Vec<f64>, Failure>>()?.into_iter().fold(0.0, f64::max);
        measured.coordinator_peak = peak_bytes(self.coordinator.id())?;
        Ok(measured)
    }

    fn reading(&self) -> Result<Reading, Failure> {
        let mut own = processor_seconds(self.coordinator.id())?;
        for worker in &self.workers {
            own += processor_seconds(worker.id())?;
        }
        let (received, sent) = self.host.traffic()?;
        Ok(Reading { processors: Processors::now()?, at: Instant::now(), own, received, sent })
    }
}

/// A process that runs a job.
pub(super) struct Runner(Process);

/// What is told of an outer step: how many workers took part, and seconds.
pub(super) struct Step {
    pub(super) together: f64,
    pub(super) total: f64,
    pub(super) compute: f64,
    pub(super) optimizer: f64,
    /// Shards of the whole job that each worker has delivered, in the order of the workers' names.
    pub(super) shards: Vec<u64>,
}

impl Runner {
    /// The next outer step, when it has ended.
    pub(super) fn step(&mut self) -> Result<Step, Failure> {
        let line = self.0.line()?;
        let (numbers, shards) = line.split_once(';').ok_or("expected numbers and shards of an outer step")?;
        let fields: Vec<f64> = numbers.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [together, total, compute, optimizer] = fields[..] else {
            return Err("expected four numbers of an outer step".into());
        };
        let shards = shards.split_terminator(' ').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Step { together, total, compute, optimizer, shards })
    }
}

/// Credentials of a coordinator on a host, of workers and of an administrator.
fn credentials(host: &Host) -> Result<TempDir, Failure> {
    let root = tempfile::tempdir()?;
    let identities = vec![(Holder::Admin, "admin".to_owned()), (Holder::Worker, "worker".to_owned())];
    provide(root.path(), &Wanted { hosts: vec![host.address.to_string()], identities, days: 1 })?;
    Ok(root)
}

/// Counters at the end of an outer step.
struct Reading {
    at: Instant,
    processors: Processors,
    own: f64,
    received: u64,
    sent: u64,
}

impl Measured {
    /// Adds the shards that were delivered in an outer step.
    fn add_shards(&mut self, now: &[u64], before: &[u64]) {
        self.shards.resize(now.len(), 0.0);
        let earlier = before.iter().chain(std::iter::repeat(&0));
        for ((mean, now), before) in self.shards.iter_mut().zip(now).zip(earlier) {
            *mean += (now.saturating_sub(*before) as f64 - *mean) / self.gradients as f64;
        }
    }

    /// Adds what an outer step cost.
    fn add(&mut self, now: &Reading, before: &Reading) {
        self.gradients += 1;
        let mean = |mean: &mut f64, next: f64| *mean += (next - *mean) / self.gradients as f64;
        mean(&mut self.processors, now.processors.used_since(&before.processors));
        let seconds = (now.at - before.at).as_secs_f64() * processors() as f64;
        mean(&mut self.own_processors, (now.own - before.own) / seconds);
        mean(&mut self.received, (now.received - before.received) as f64);
        mean(&mut self.sent, (now.sent - before.sent) as f64);
    }
}

/// Runs the job that [`Spread::runner`] describes, and prints of each outer step the number of workers and
/// seconds: in all, computing, and on the coordinator; then what shards each worker has delivered so far.
pub(super) async fn run_job(argument: String) -> Result<(), Failure> {
    let fields: Vec<&str> = argument.split(' ').collect();
    let [url, credentials, workers, model, steps, limit] = fields[..] else {
        return Err("expected six fields".into());
    };
    let spec = match model.strip_prefix('@') {
        Some(file) => wire::to_proto(&parse_toml(&std::fs::read_to_string(file)?)?),
        None => {
            let Load { scheme, parameters, shards } = model.parse()?;
            let job = BenchJob {
                parameters,
                shards,
                steps: steps.parse()?,
                optimizer: scheme.optimizer(),
                exchange: scheme.format,
                workers: workers.parse()?,
            };
            job.spec()?
        }
    };
    let access = Access::new(url, (credentials != "-").then(|| Folder::new(credentials)))?;
    let printing = watch(spec, &access, async |step, client| {
        let time = step.time.unwrap_or_default();
        let answer = client.list_workers(v1::ListWorkersRequest::default()).await;
        let mut workers = answer.map(|answer| answer.into_inner().workers).unwrap_or_default();
        workers.sort_by(|one, other| one.name.cmp(&other.name));
        let shards: String = workers.iter().map(|worker| format!("{} ", worker.shards_done)).collect();
        println!("{} {} {} {};{shards}", step.workers, time.total, time.compute, time.optimizer);
    });
    let ended = tokio::time::timeout(Duration::from_secs(limit.parse()?), printing).await;
    ended.map_err(|_| "the job takes too long")?
}
