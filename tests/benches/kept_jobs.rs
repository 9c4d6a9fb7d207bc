//! The cost of jobs that have ended and are kept: what the coordinator's processor time per outer step of another job,
//! a list of jobs and a restart take beside one such job, and beside ten thousand.

use std::time::{Duration, Instant};

use lookbehind_common::ids::{ClusterId, JobId};
use lookbehind_coordinator::state::{JobChange, StoredJob};
use lookbehind_coordinator::store::Store;
use lookbehind_proto::v1;
use lookbehind_tests::bench::{Failure, Samples, Table, rounds};
use lookbehind_tests::jobs::{job, long_job, small};
use lookbehind_tests::machines::Machines;
use rustix::process::Signal;

/// Jobs that have ended.
const MANY: u64 = 10_000;
/// Outer steps over which the processor time is measured.
const STEPS: u64 = 4000;
/// Outer steps before that: afterwards the worker takes part, and its speed is known.
const WARM: u64 = 200;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<(), Failure> {
    let mut beside = [Beside::new(1).await?, Beside::new(MANY).await?];
    for _ in 0..rounds(5) {
        for beside in &mut beside {
            beside.round().await?;
        }
    }
    println!("The coordinator beside jobs that have ended and are kept; medians, longest in parentheses");
    let columns = ["kept jobs", "processor time per outer step, µs", "`lookbehind jobs`, ms", "restart, ms"];
    let table = Table::new(&columns);
    for Beside { kept, step, list, restart, .. } in &mut beside {
        let text = |samples: &mut Samples, unit: f64, digits: usize| {
            format!("{:.digits$} ({:.digits$})", samples.median() * unit, samples.longest() * unit)
        };
        table.row(&[kept.to_string(), text(step, 1e6, 1), text(list, 1e3, 0), text(restart, 1e3, 0)]);
    }
    let [one, many] = &mut beside;
    println!("\nprocessor time per outer step, many to one: {:.3}", many.step.median() / one.step.median());
    Ok(())
}

/// A coordinator that keeps a number of jobs that have ended, and what was measured beside them.
struct Beside {
    machines: Machines,
    kept: u64,
    asked: u32,
    step: Samples,
    list: Samples,
    restart: Samples,
}

impl Beside {
    async fn new(kept: u64) -> Result<Self, Failure> {
        let mut machines = Machines::new().await;
        let id = machines.client.submit(&small()).await;
        machines.client.jobs().cancel_job(v1::CancelJobRequest { job_id: id }).await?;
        stop(&mut machines).await;
        multiply(&machines.path("state"), kept)?;
        machines.restart().await;
        let (step, list, restart) = Default::default();
        Ok(Self { machines, kept, asked: 0, step, list, restart })
    }

    async fn round(&mut self) -> Result<(), Failure> {
        self.steps().await?;
        self.asked += 1;
        let begun = Instant::now();
        let (code, user) = self.machines.ask(&format!("jobs-{}", self.asked), &["jobs"]).await;
        self.list.push(begun.elapsed().as_secs_f64());
        assert_eq!(code, 0, "{}", user.stderr());
        stop(&mut self.machines).await;
        let begun = Instant::now();
        self.machines.restart().await;
        self.machines
            .client
            .jobs()
            .list_jobs(v1::ListJobsRequest { page_size: 1, ..Default::default() })
            .await?;
        self.restart.push(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Measures the processor time of the coordinator for outer steps of a job on one worker.
    async fn steps(&mut self) -> Result<(), Failure> {
        let mut worker = self.machines.worker(&format!("w{}", self.asked)).await;
        let mut endless = job(&long_job());
        endless.train.steps = Some(1 << 30);
        endless.checkpoint.every_steps = Some(0);
        let id = self.machines.client.submit(&endless).await;
        let mut watcher = self.machines.client.watch(&id).await;
        watcher.until_step(WARM).await;
        let before = processor_time(self.machines.coordinator.id())?;
        watcher.until_step(WARM + STEPS).await;
        let took = processor_time(self.machines.coordinator.id())?.saturating_sub(before);
        self.step.push(took.as_secs_f64() / STEPS as f64);
        let mut jobs = self.machines.client.jobs();
        jobs.cancel_job(v1::CancelJobRequest { job_id: id.clone() }).await?;
        jobs.delete_job(v1::DeleteJobRequest { job_id: id }).await?;
        worker.signal(Signal::TERM);
        worker.ended().await;
        Ok(())
    }
}

async fn stop(machines: &mut Machines) {
    machines.coordinator.signal(Signal::TERM);
    machines.coordinator.ended().await;
}

/// Stores copies of the only job in a state folder, which has ended, until there are `kept`.
fn multiply(folder: &std::path::Path, kept: u64) -> Result<(), Failure> {
    let opened = Store::open(folder, ClusterId("kept jobs".into()), 0)?;
    let [StoredJob { record, .. }] = opened.stored.jobs.as_slice() else {
        return Err("expected one job in the state folder".into());
    };
    let spec = opened.store.spec(&record.id)?.ok_or("the job has a specification")?;
    for number in 2..=kept {
        let mut copy = record.clone();
        copy.id = JobId::from_entropy(number);
        copy.number = number;
        copy.request_id = format!("copy-{number}");
        opened.store.put(&JobChange {
            record: copy,
            spec: Some(spec.clone().into()),
            notices: Vec::new(),
        })?;
    }
    Ok(())
}

/// The processor time that a process has taken so far, in ticks of 10 ms.
fn processor_time(process: u32) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the program, in parentheses, may have spaces. User and system time are the 12th and 13th after it.
    let (_, fields) = stat.rsplit_once(')').ok_or("expected a name in parentheses")?;
    let ticks: Result<Vec<u64>, _> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect();
    Ok(Duration::from_millis(10) * ticks?.iter().sum::<u64>() as u32)
}
