//! The cost of faults. Coordinator and workers are separate processes with default settings, which train a model whose
//! outer step takes a few tens of milliseconds. The benchmark prints the times from a fault to the next finished outer
//! step, and what remains of the training speed when workers are repeatedly killed and replaced.

use std::time::{Duration, Instant};

use lookbehind_proto::v1;
use lookbehind_tests::bench::{Failure, Samples, Table, rounds};
use lookbehind_tests::client::Watcher;
use lookbehind_tests::jobs::job;
use lookbehind_tests::machines::Machines;
use lookbehind_tests::process::Process;
use rustix::process::Signal;

/// Default failure detection, in seconds.
const DETECTION: &str = "2";
/// A job that does not end by itself; a checkpoint is written about once a second.
const JOB: &str = r#"
        name = "recovery"
        seed = 3
        [model]
        kind = "mlp"
        hidden = [512, 512]
        [data]
        kind = "digits"
        [train]
        steps = 100000
        batch_size = 256
        shards = 8
        [optimizer]
        method = "lookbehind"
        k = 2
        rho = 0.05
        alpha = 0.5
        [optimizer.base]
        kind = "sgd"
        lr = 0.01
        momentum = 0.9
        [checkpoint]
        every_steps = 25
"#;
/// Seconds between two kills.
const PERIOD: u64 = 10;
/// Seconds for which outer steps are counted.
const COUNTED: u64 = 60;
/// Outer steps before a fault: afterwards all workers take part, and their speed is known.
const WARM: u64 = 20;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure());
    Ok(())
}

async fn measure() {
    println!("Time from a fault to the next finished outer step, {DETECTION} s failure detection, in s");
    let table = Table::new(&["fault", "median", "longest", "duration of an outer step"]);
    for fault in [Fault::KillWorker, Fault::FreezeWorker, Fault::KillCoordinator, Fault::LoseSteps] {
        let (mut times, mut steps) = (Samples::default(), Samples::default());
        for _ in 0..rounds(7) {
            let mut run = Run::new(2).await;
            steps.push(run.seconds_per_step().await);
            times.push(run.recovery(fault).await);
        }
        let seconds = |seconds: f64| format!("{seconds:.2}");
        table.row(&[
            fault.name().into(),
            seconds(times.median()),
            seconds(times.longest()),
            format!("{:.3}", steps.median()),
        ]);
    }
    println!("\nOuter steps in {COUNTED} s on 3 workers");
    let table = Table::new(&["a worker is killed and replaced", "outer steps per s", "goodput"]);
    let calm = Run::new(3).await.goodput(None).await;
    table.row(&["never".into(), format!("{calm:.1}"), "1".into()]);
    let killed = Run::new(3).await.goodput(Some(Duration::from_secs(PERIOD))).await;
    table.row(&[format!("every {PERIOD} s"), format!("{killed:.1}"), format!("{:.2}", killed / calm)]);
}

/// The fault, and the end of the measurement.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillWorker,
    FreezeWorker,
    KillCoordinator,
    /// As `KillCoordinator`, but the measurement ends at the first outer step that was not done before the fault.
    LoseSteps,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::KillWorker => "SIGKILL of one of two workers",
            Self::FreezeWorker => "SIGSTOP of one of two workers",
            Self::KillCoordinator => "SIGKILL of the coordinator, from its restart",
            Self::LoseSteps => "the same, until the job is further than before the fault",
        }
    }
}

/// A running job.
struct Run {
    machines: Machines,
    workers: Vec<Process>,
    started: usize,
    id: String,
    watcher: Watcher,
    seen: u64,
}

impl Run {
    async fn new(workers: usize) -> Self {
        let machines = Machines::detecting(DETECTION).await;
        let mut processes = Vec::new();
        for number in 1..=workers {
            processes.push(machines.worker(&format!("w{number}")).await);
        }
        let id = machines.client.submit(&job(JOB)).await;
        let mut watcher = machines.client.watch(&id).await;
        watcher.until_step(WARM).await;
        Self { machines, workers: processes, started: workers, id, watcher, seen: WARM }
    }

    /// Waits for `count` more outer steps.
    async fn steps(&mut self, count: u64) {
        self.seen += count;
        self.watcher.until_step(self.seen).await;
    }

    async fn seconds_per_step(&mut self) -> f64 {
        let begun = Instant::now();
        self.steps(WARM).await;
        begun.elapsed().as_secs_f64() / WARM as f64
    }

    /// Seconds until the training continues.
    async fn recovery(&mut self, fault: Fault) -> f64 {
        let done = self.machines.client.job(&self.id).await.outer_step;
        match fault {
            Fault::KillWorker => self.worker_lost(Signal::KILL, done).await,
            Fault::FreezeWorker => self.worker_lost(Signal::STOP, done).await,
            Fault::KillCoordinator => self.coordinator_lost(None).await,
            Fault::LoseSteps => self.coordinator_lost(Some(done)).await,
        }
    }

    async fn worker_lost(&mut self, signal: Signal, done: u64) -> f64 {
        self.workers[0].signal(signal);
        let begun = Instant::now();
        // Two steps, because the next one may have been finished already when the fault happened.
        self.watcher.until_step(done + 2).await;
        begun.elapsed().as_secs_f64()
    }

    /// Kills and restarts the coordinator; seconds from its start until the job is past step `done`, or past its newest
    /// checkpoint if that is `None`.
    async fn coordinator_lost(&mut self, done: Option<u64>) -> f64 {
        self.machines.coordinator.signal(Signal::KILL);
        self.machines.coordinator.ended().await;
        let checkpoint = self.machines.checkpoints(&self.id).last().copied().unwrap_or_default();
        let begun = Instant::now();
        self.machines.restart().await;
        loop {
            let job = self.machines.client.job(&self.id).await;
            if job.state() == v1::JobState::Running && job.outer_step > done.unwrap_or(checkpoint) {
                return begun.elapsed().as_secs_f64();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Outer steps per second while a worker is killed and replaced every `period`; never if that is `None`.
    async fn goodput(&mut self, period: Option<Duration>) -> f64 {
        let begun = Instant::now();
        let before = self.seen;
        let end = Duration::from_secs(COUNTED);
        let mut kill = period;
        while begun.elapsed() < end {
            self.steps(1).await;
            if let (Some(due), Some(period)) = (kill, period)
                && begun.elapsed() >= due
            {
                kill = Some(due + period);
                self.replace().await;
            }
        }
        (self.seen - before) as f64 / begun.elapsed().as_secs_f64()
    }

    /// Kills the oldest worker and starts another.
    async fn replace(&mut self) {
        self.workers.remove(0).kill().await;
        self.started += 1;
        self.workers.push(self.machines.worker_at(&self.machines.url, &format!("w{}", self.started)));
    }
}
