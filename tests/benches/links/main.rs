//! The exchange between hosts that are each behind a link of limited rate, as machines of a cluster are: seconds per
//! gradient, against what the links allow. On the loopback interface a star looks cheap, since nothing limits the one
//! link that all its bytes cross.
//!
//! Gradients are ready when they are asked for, so that only the exchange and the update of the weights are timed. In the
//! same run, for comparison: the goodput B of one TCP stream, and gloo's all-reduce between the same hosts.

mod division;
mod encryption;
mod faults;
mod torch;
mod training;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lookbehind_coordinator::state::ExchangeRoute;
use lookbehind_tests::bench::{
    Failure, Hosts, Load, Measured, Placement, Role, Samples, Scheme, Setup, Spread, Table, Timeline, goodput,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Share of the processors beyond which a measurement may say more about them than about the links.
const BUSY: f64 = 0.7;
/// A job may take this many times what the star's limit suggests, and two minutes.
const PATIENCE: f64 = 10.0;

/// Measures exchanges between hosts behind links. Needs root, `unshare`, `nsenter`, `ip` and `tc`; without them it ends
/// with exit status 77.
#[derive(Parser)]
struct Options {
    /// Numbers of workers.
    #[arg(long, value_delimiter = ',', default_value = "2,4,8")]
    workers: Vec<usize>,
    /// Rates of the links in Mbit/s.
    #[arg(long, value_delimiter = ',', default_value = "1000")]
    rate: Vec<f64>,
    /// Parameters of the model.
    #[arg(long, default_value_t = 25_000_000)]
    parameters: usize,
    /// What is exchanged: f32 and bf16 for a gradient, shard-K and shard-K-bf16 for the K gradients of shards that climb by
    /// themselves.
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    schemes: Vec<Scheme>,
    /// Shards of a batch; as many as workers if it is not given.
    #[arg(long)]
    shards: Option<u32>,
    /// Seconds that a worker would compute for all shards of a batch; workers wait for their part of it. 0: gradients are
    /// ready when they are asked for.
    #[arg(long, default_value_t = 0.0)]
    computing: f64,
    /// Which way weights and partials travel.
    #[arg(long, value_enum, default_value_t)]
    route: ExchangeRoute,
    /// Measures instead, for workers of these speeds, how the shards are divided and how long computing and exchanging take
    /// together, beside the best division that trying all of them finds.
    #[arg(long, value_delimiter = ',', requires = "computing")]
    speeds: Option<Vec<f64>>,
    /// Exchanges that are measured for each row.
    #[arg(long, default_value_t = 5)]
    gradients: u64,
    /// The link of the last worker is this many times slower.
    #[arg(long, default_value_t = 1.0)]
    slow_link: f64,
    /// The coordinator is on the first worker's host.
    #[arg(long)]
    with_first_worker: bool,
    /// All connections are encrypted and identified.
    #[arg(long)]
    tls: bool,
    /// Measures each row in plain text and encrypted in turn, and prints the ratio.
    #[arg(long, conflicts_with = "tls")]
    compare_tls: bool,
    /// Measures instead what an outer step costs in which the last worker is killed, is frozen, or has a link that becomes
    /// ten times slower.
    #[arg(long)]
    faults: bool,
    /// Measures instead whole outer steps of ResNet-18 (Lookbehind-SAM with k = 2 and 5, either perturbation and format of the
    /// exchange, images of 8 × 8), beside PyTorch's DistributedDataParallel with 2k backward passes.
    #[arg(long)]
    resnet: bool,
    /// Prints before each row how busy the links were in its last outer step, the seconds of each, and how many packets the
    /// links have dropped.
    #[arg(long)]
    timeline: bool,
    /// What `cargo bench` passes to each benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    Role::of_this_process().play(|| {
        let options = Options::parse();
        // Tells before anything else whether there can be hosts at all.
        Hosts::new(&options.rate)?;
        match options {
            Options { faults: true, .. } => faults::disturb(&options),
            Options { compare_tls: true, .. } => encryption::compare(&options),
            Options { resnet: true, .. } => training::train(&options),
            Options { speeds: Some(ref speeds), .. } => division::divide(&options, speeds),
            _ => compare(&options),
        }
    })
}

fn compare(options: &Options) -> Result<(), Failure> {
    println!(
        "{} parameters, V = {:.0} MB as f32; seconds per exchange, best / median of {}; processors: of the whole machine",
        options.parameters,
        options.bytes() / 1e6,
        options.gradients
    );
    let table = Table::new(&[
        "exchanged",
        "workers",
        "link, Mbit/s",
        "B, MB/s",
        "exchange, s",
        "of it the update, s",
        "2WV/B",
        "(W+1)V/B",
        "limit between workers",
        "exchange / 2WV/B",
        "exchange / (W+1)V/B",
        "exchange / limit between workers",
        "gloo, s",
        "2(W−1)/W·V/B",
        "exchange / gloo",
        "coordinator's host received / V",
        "sent / V",
        "processors, %",
        "of it ours, %",
        "coordinator / V",
        "worker / V",
    ]);
    let mut quiet: Option<f64> = None;
    let mut busy = false;
    let mut torch = true;
    for rate in &options.rate {
        let mut most: f64 = 0.0;
        let rows = options
            .workers
            .iter()
            .flat_map(|workers| options.schemes.iter().map(move |scheme| (workers, scheme)));
        for (workers, scheme) in rows {
            let row = Row::measure(options, *scheme, *rate, *workers, &mut torch)?;
            most = most.max(row.ours.processors);
            table.row(&row.cells());
        }
        busy |= most > BUSY;
        if most <= BUSY {
            quiet = Some(quiet.map_or(*rate, |quiet| quiet.max(*rate)));
        }
    }
    println!();
    match (quiet, busy) {
        (_, false) => println!("The processors stayed under {:.0} % at all rates.", BUSY * 100.0),
        (Some(rate), true) => {
            println!("The processors stayed under {:.0} % at {rate} Mbit/s for all rows.", BUSY * 100.0);
        }
        (None, true) => println!(
            "At each of these rates the processors were over {:.0} % busy in a row: try lower ones with --rate.",
            BUSY * 100.0
        ),
    }
    if !torch {
        println!(
            "No gloo: {} has no PyTorch; LOOKBEHIND_PEER_PYTHON may name another Python.",
            torch::python()
        );
    }
    Ok(())
}

impl Options {
    /// Bytes of the parameters.
    fn bytes(&self) -> f64 {
        (self.parameters * size_of::<f32>()) as f64
    }

    fn placement(&self) -> Placement {
        if self.with_first_worker { Placement::WithFirstWorker } else { Placement::Apart }
    }

    /// Workers of equal speeds.
    fn setup(&self, workers: usize) -> Setup {
        let setup = Setup { guarded: self.tls, route: self.route, ..Setup::new(self.placement(), workers) };
        self.with_speeds(setup, &vec![1.0; workers])
    }

    /// The same workers with these speeds.
    fn with_speeds(&self, setup: Setup, speeds: &[f64]) -> Setup {
        let shards = f64::from(self.shards(speeds.len()));
        let per_shard = |speed: &f64| Duration::from_secs_f64(self.computing / shards / speed);
        Setup { per_shard: speeds.iter().map(per_shard).collect(), ..setup }
    }

    fn shards(&self, workers: usize) -> u32 {
        self.shards.unwrap_or(workers as u32)
    }

    fn load(&self, scheme: Scheme, workers: usize) -> Load {
        Load { scheme, parameters: self.parameters, shards: self.shards(workers) }
    }

    /// Hosts for a coordinator and workers.
    fn hosts(&self, rate: f64, workers: usize) -> Result<Hosts, Failure> {
        let mut rates = vec![rate; workers + self.placement().first_worker()];
        if let Some(last) = rates.last_mut() {
            *last /= self.slow_link;
        }
        Hosts::new(&rates)
    }

    /// How long all gradients of a row may take.
    fn limit(&self, each_way: f64, workers: usize, goodput: f64) -> Duration {
        let slowest = each_way * workers as f64 * self.bytes() / goodput * self.slow_link + self.computing;
        Duration::from_secs_f64(120.0 + PATIENCE * slowest * self.gradients as f64)
    }
}

/// Measures gradients on new processes.
fn measure(
    options: &Options,
    scheme: Scheme,
    hosts: &Hosts,
    setup: &Setup,
    limit: Duration,
) -> Result<Measured, Failure> {
    let spread = Spread::start(hosts, setup)?;
    spread.measure(options.load(scheme, setup.workers()), options.gradients, limit)
}

/// One row of the table.
struct Row {
    scheme: Scheme,
    each_way: f64,
    workers: usize,
    rate: f64,
    goodput: f64,
    bytes: f64,
    ours: Measured,
    gloo: Samples,
}

impl Row {
    fn measure(
        options: &Options,
        scheme: Scheme,
        rate: f64,
        workers: usize,
        torch: &mut bool,
    ) -> Result<Self, Failure> {
        let each_way = scheme.each_way()?;
        let placement = options.placement();
        let hosts = options.hosts(rate, workers)?;
        let second = rate * 1e6 / 8.0;
        let goodput = goodput(hosts.get(0)?, hosts.get(1)?, second as usize)?;
        let limit = options.limit(each_way, workers, goodput);
        let timeline = options.timeline.then(|| Timeline::begin(&hosts));
        let ours = measure(options, scheme, &hosts, &options.setup(workers), limit)?;
        if let (Some(timeline), Some((begin, end))) = (timeline, ours.last) {
            println!();
            timeline.print(begin, end, second)?;
            println!("\nSeconds of each exchange: {:.2?}.", ours.seconds.each());
            println!("Packets dropped by the links in all outer steps: {}.\n", hosts.dropped()?);
        }
        let mut gloo = Samples::default();
        if *torch {
            gloo = torch::gloo_all_reduces(&hosts, placement, workers, options)?;
            *torch = gloo.best().is_finite();
        }
        Ok(Self { scheme, each_way, workers, rate, goodput, bytes: options.bytes(), ours, gloo })
    }

    fn cells(&self) -> Vec<String> {
        let workers = self.workers as f64;
        let once = self.bytes / self.goodput;
        let both = |samples: &Samples| format!("{:.2} / {:.2}", samples.best(), samples.median());
        // What is sent in one direction and in the other: V of weights, and the gradients.
        let gradients = self.each_way - 1.0;
        let both_ways = (gradients + 1.0) * workers * once;
        let overlapped = (gradients.max(1.0) * workers + gradients.min(1.0)) * once;
        let limits = [both_ways, overlapped, self.each_way * once];
        let ratio = |limit: f64| format!("{:.2}", self.ours.seconds.median() / limit);
        let has_gloo = self.gloo.best().is_finite();
        let of_gloo = |cell: String| if has_gloo { cell } else { String::new() };
        let of_model = |bytes: f64| format!("{:.1}", bytes / self.bytes);
        let mut cells = vec![
            self.scheme.to_string(),
            self.workers.to_string(),
            self.rate.to_string(),
            format!("{:.1}", self.goodput / 1e6),
            both(&self.ours.seconds),
            format!("{:.3}", self.ours.optimizer.median()),
        ];
        cells.extend(limits.map(|limit| format!("{limit:.2}")));
        cells.extend(limits.map(ratio));
        cells.extend([
            of_gloo(both(&self.gloo)),
            format!("{:.2}", 2.0 * (workers - 1.0) / workers * once),
            of_gloo(ratio(self.gloo.median())),
            format!("{:.2}", self.ours.received / self.bytes),
            format!("{:.2}", self.ours.sent / self.bytes),
            format!("{:.0}", self.ours.processors * 100.0),
            format!("{:.0}", self.ours.own_processors * 100.0),
            of_model(self.ours.coordinator_peak),
            of_model(self.ours.worker_peak),
        ]);
        cells
    }
}
