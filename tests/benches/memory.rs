//! Peak resident memory of a coordinator's process, in copies of the model.

use std::process::ExitCode;

use lookbehind_common::job::ExchangeFormat;
use lookbehind_tests::bench::{BenchJob, Failure, Outside, Role, Table, peak_bytes};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARAMETERS: usize = 25_000_000;

fn main() -> ExitCode {
    Role::of_this_process().play(measure)
}

fn measure() -> Result<(), Failure> {
    println!(
        "Peak resident memory of a coordinator, {PARAMETERS} parameters (100 MB), lookbehind with k = 2"
    );
    let table = Table::new(&["optimizer", "workers", "peak, MB", "copies of the model"]);
    let momentum =
        "method = \"lookbehind\"\nk = 2\nrho = 0.05\nalpha = 0.5\nbase.lr = 1e-3\nbase.momentum = 0.9";
    let adaptive = "method = \"lookbehind\"\nk = 2\nrho = 0.05\nalpha = \"adaptive\"\nbase.kind = \"adamw\"";
    let cases = [
        ("SGD with momentum, α = 0.5", momentum, 2),
        ("SGD with momentum, α = 0.5", momentum, 4),
        ("AdamW, adaptive α", adaptive, 2),
    ];
    for (name, optimizer, workers) in cases {
        let job = BenchJob {
            parameters: PARAMETERS,
            shards: 8,
            steps: 3,
            optimizer: optimizer.to_owned(),
            exchange: ExchangeFormat::F32,
            workers,
        };
        let cluster = Outside::start(workers)?;
        cluster.run(job, 0)?;
        let peak = peak_bytes(cluster.coordinator_pid())? / 1e6;
        let copies = format!("{:.1}", peak * 1e6 / (4 * PARAMETERS) as f64);
        table.row(&[name.into(), workers.to_string(), format!("{peak:.0}"), copies]);
    }
    Ok(())
}
