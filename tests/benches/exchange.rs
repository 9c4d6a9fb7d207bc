//! One whole exchange of a large model: partials are sent and summed, new weights are received. Coordinator and workers
//! are separate processes. In the same rounds, for comparison: gloo's all-reduce, and the same dataflow over bare
//! sockets.

use std::process::{Command, ExitCode};

use lookbehind_common::job::ExchangeFormat;
use lookbehind_tests::bench::{BenchJob, Failure, Outside, Role, Samples, Table, copies, rounds, star, sums};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARAMETERS: usize = 25_000_000;
const BYTES: f64 = PARAMETERS as f64 * 4.0;
const OPTIMIZER: &str =
    "method = \"lookbehind\"\nk = 5\nrho = 0.05\nalpha = 0.5\nbase.lr = 1e-3\nbase.momentum = 0.9";

fn main() -> ExitCode {
    Role::of_this_process().play(compare)
}

fn compare() -> Result<(), Failure> {
    println!("One exchange of {PARAMETERS} f32 (100 MB), best / median; GB/s count what crosses the sockets");
    let table = Table::new(&[
        "workers",
        "exchange, ms",
        "GB/s over the sockets",
        "gloo, ms",
        "exchange / gloo",
        "bare sockets, ms",
        "exchange / bare",
        "sums, ms",
    ]);
    for workers in [2, 4] {
        let (mut ours, mut gloo, mut bare) = (Samples::default(), Samples::default(), Samples::default());
        let mut adding = Samples::default();
        for _ in 0..rounds(3) {
            let summing = sums(PARAMETERS, workers, 3);
            ours.append(exchanges(workers, summing.median())?);
            gloo.append(gloo_all_reduces(workers));
            bare.append(star(PARAMETERS, workers, 5)?);
            adding.push(summing.median());
        }
        let both = |samples: &Samples| format!("{:.0} / {:.0}", samples.best() * 1e3, samples.median() * 1e3);
        let ratio = |other: &Samples| {
            format!("{:.2} / {:.2}", ours.best() / other.best(), ours.median() / other.median())
        };
        table.row(&[
            workers.to_string(),
            both(&ours),
            format!("{:.1}", 2.0 * workers as f64 * BYTES / ours.best() / 1e9),
            both(&gloo),
            ratio(&gloo),
            both(&bare),
            ratio(&bare),
            both(&adding),
        ]);
    }
    let copy = copies(PARAMETERS, 9);
    println!(
        "\nCopying 100 MB in memory: {:.0} ms best, {:.0} ms median",
        copy.best() * 1e3,
        copy.median() * 1e3
    );
    Ok(())
}

/// Seconds of one exchange, averaged over each outer step: its whole time except computing and the optimizer. The
/// coordinator attributes the time of summing, `summing`, to the optimizer.
fn exchanges(workers: usize, summing: f64) -> Result<Samples, Failure> {
    let shards = u32::try_from(workers)?;
    let job = BenchJob {
        parameters: PARAMETERS,
        shards,
        steps: 5,
        optimizer: OPTIMIZER.to_owned(),
        exchange: ExchangeFormat::F32,
        workers,
    };
    let steps = Outside::start(workers)?.run(job, 1)?;
    let times = steps.iter().filter_map(|step| Some((step.time?, f64::from(step.gradients))));
    Ok(times.map(|(time, parts)| (time.total - time.compute - time.optimizer) / parts + summing).collect())
}

/// Seconds of gloo's all-reduces; empty if torch is not installed.
fn gloo_all_reduces(workers: usize) -> Samples {
    let python = std::env::var("LOOKBEHIND_PEER_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/gloo_allreduce.py");
    let arguments = [script, &workers.to_string(), &PARAMETERS.to_string(), "7"].map(str::to_owned);
    match Command::new(&python).args(arguments).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.parse().ok()).collect()
        }
        _ => {
            eprintln!("no gloo: {python} cannot run it; LOOKBEHIND_PEER_PYTHON may name another");
            Samples::default()
        }
    }
}
