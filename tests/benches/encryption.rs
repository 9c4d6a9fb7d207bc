//! The cost of TLS and identities: the exchange of a large model and of a small one, encrypted and in plain text in
//! turn. Coordinator and workers are separate processes.

use std::process::ExitCode;

use lookbehind_common::job::ExchangeFormat;
use lookbehind_tests::bench::{BenchJob, Failure, Outside, Role, Samples, Table, rounds};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WORKERS: usize = 2;
const OPTIMIZER: &str =
    "method = \"lookbehind\"\nk = 5\nrho = 0.05\nalpha = 0.5\nbase.lr = 1e-3\nbase.momentum = 0.9";

fn main() -> ExitCode {
    Role::of_this_process().play(compare)
}

fn compare() -> Result<(), Failure> {
    println!("One exchange with {WORKERS} workers, best / median");
    let table =
        Table::new(&["elements", "plain text, ms", "TLS, ms", "TLS / plain text", "additional ms per GB"]);
    for (parameters, steps) in [(25_000_000, 4), (2_500_000, 20), (1_000, 400)] {
        let (mut plain, mut tls) = (Samples::default(), Samples::default());
        for _ in 0..rounds(3) {
            plain.append(exchanges(&Outside::start(WORKERS)?, parameters, steps)?);
            tls.append(exchanges(&Outside::start_guarded(WORKERS)?, parameters, steps)?);
        }
        let both = |samples: &Samples| format!("{:.2} / {:.2}", samples.best() * 1e3, samples.median() * 1e3);
        // Each worker sends its partial and receives the weights.
        let gigabytes = 2.0 * WORKERS as f64 * parameters as f64 * 4.0 / 1e9;
        let more = |tls: f64, plain: f64| (tls - plain) * 1e3 / gigabytes;
        table.row(&[
            parameters.to_string(),
            both(&plain),
            both(&tls),
            format!("{:.2} / {:.2}", tls.best() / plain.best(), tls.median() / plain.median()),
            format!("{:.0} / {:.0}", more(tls.best(), plain.best()), more(tls.median(), plain.median())),
        ]);
    }
    Ok(())
}

/// Seconds of one exchange, averaged over each outer step: its whole time except computing and the optimizer.
fn exchanges(cluster: &Outside, parameters: usize, steps: u64) -> Result<Samples, Failure> {
    let job = BenchJob {
        parameters,
        shards: WORKERS as u32,
        steps,
        optimizer: OPTIMIZER.to_owned(),
        exchange: ExchangeFormat::F32,
        workers: WORKERS,
    };
    let measured = cluster.run(job, 1)?;
    let times = measured.iter().filter_map(|step| Some((step.time?, f64::from(step.gradients))));
    Ok(times.map(|(time, parts)| (time.total - time.compute - time.optimizer) / parts).collect())
}
