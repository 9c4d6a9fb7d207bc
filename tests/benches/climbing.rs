//! Memory of a worker that has all shards of a batch, for both perturbations and both orders in which shards climb: the
//! limit below which it refuses the job, and the most that it then has in use.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lookbehind_common::job::{JobSpec, Perturbation, parse_toml};
use lookbehind_common::optimizer::ClimbOrder;
use lookbehind_common::reduction::Segment;
use lookbehind_tests::bench::{Failure, Table};
use lookbehind_worker::compute::{
    Backend, CandleBackend, PrepareError, PreparedJob, Request, RequestKind, compute_unwatched,
};
use lookbehind_worker::data::{Cancellation, DataEnvironment};
use lookbehind_worker::memory::{self, Metered};
use lookbehind_worker::registry::Registry;

#[global_allocator]
static ALLOCATOR: Metered<mimalloc::MiMalloc> = Metered(mimalloc::MiMalloc);

/// Parameters of a perceptron 64 → 2048 → 2048 → 10.
const PARAMETERS: u64 = 64 * 2048 + 2048 + 2048 * 2048 + 2048 + 2048 * 10 + 10;
/// No job here takes more.
const MOST: u64 = 4 << 30;
const MIB: u64 = 1 << 20;

fn main() -> Result<(), Failure> {
    let copy = 4.0 * PARAMETERS as f64 / MIB as f64;
    println!(
        "Memory of a worker that computes all shards of a batch, lookbehind; one copy of the weights is {copy:.1} MiB"
    );
    let columns = ["perturbation", "k", "shards", "refused below, MiB", "in use at most, MiB"];
    let table = Table::new(&columns);
    for (k, shards) in [(1, 8), (2, 2), (5, 2), (5, 5), (5, 8)] {
        let [one_after_another, in_step] = ClimbOrder::ALL;
        for order in [None, Some(one_after_another), Some(in_step)] {
            let job = Job { spec: spec(k, shards, order.is_some())?, order };
            let limit = job.least_limit()?;
            let most =
                most_in_use(job.prepared(MOST)?.ok_or("a limit that is large enough")?.as_mut(), shards)?;
            let name = order.map_or("global".to_owned(), |order| format!("shard, {}", order.as_str()));
            let mib = |bytes: u64| bytes.div_ceil(MIB).to_string();
            table.row(&[name, k.to_string(), shards.to_string(), mib(limit), mib(most)]);
        }
    }
    Ok(())
}

fn spec(k: u32, shards: u32, climbs: bool) -> Result<JobSpec, Failure> {
    let mut file = parse_toml(
        "name = \"bench\"\n[model]\nkind = \"mlp\"\nhidden = [2048, 2048]\n[data]\nkind = \"digits\"\n\
         [train]\nsteps = 1\nbatch_size = 64\n[optimizer]\nrho = 0.05\nbase.lr = 1e-3",
    )?;
    file.train.shards = Some(shards);
    file.optimizer.k = Some(k);
    file.optimizer.perturbation = climbs.then_some(Perturbation::Shard);
    Ok(file.validate()?)
}

struct Job {
    spec: JobSpec,
    order: Option<ClimbOrder>,
}

impl Job {
    /// The job on a worker with this memory limit; `None` if the worker refuses it.
    fn prepared(&self, limit: u64) -> Result<Option<Box<dyn PreparedJob>>, Failure> {
        let environment = DataEnvironment::local(Path::new(".").to_owned(), limit);
        let mut backend = CandleBackend::new(Registry::builtin(), environment).with_threads(1);
        if let Some(order) = self.order {
            backend = backend.with_climb_order(order);
        }
        match backend.prepare(&self.spec, &Cancellation::default()) {
            Ok(job) => Ok(Some(job)),
            Err(PrepareError::Worker(_)) => Ok(None),
            Err(error) => Err(error.to_string().into()),
        }
    }

    /// The smallest limit, in whole MiB, with which the job is not refused.
    fn least_limit(&self) -> Result<u64, Failure> {
        let (mut refused, mut accepted) = (0, MOST / MIB);
        while accepted - refused > 1 {
            let middle = u64::midpoint(refused, accepted);
            match self.prepared(middle * MIB)? {
                Some(_) => accepted = middle,
                None => refused = middle,
            }
        }
        Ok(accepted * MIB)
    }
}

/// The most bytes that the process has in use while it computes the shards of three batches.
fn most_in_use(job: &mut dyn PreparedJob, shards: u32) -> Result<u64, Failure> {
    let initial = job.initial_state()?;
    job.load(initial.values())?;
    drop(initial);
    let (most, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sampling = {
        let (most, done) = (Arc::clone(&most), Arc::clone(&done));
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(memory::in_use(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(100));
            }
        })
    };
    let computed = (0..3).try_for_each(|batch| {
        let request = Request { kind: RequestKind::Gradient, epoch: 0, batch, shards };
        compute_unwatched(job, &request, Segment::root(shards)).map(drop)
    });
    done.store(true, Ordering::Relaxed);
    sampling.join().map_err(|_| "the sampling thread panicked")?;
    computed?;
    Ok(most.load(Ordering::Relaxed))
}
