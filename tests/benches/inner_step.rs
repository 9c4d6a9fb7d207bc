//! Time of an inner step apart from computing: control messages, tensors of a small model in both directions, the
//! optimizer. In the same rounds, for comparison: the same tensors over bare loopback sockets.

use lookbehind_common::job::ExchangeFormat;
use lookbehind_tests::bench::{BenchJob, Failure, Samples, Table, rounds, run_inside, star};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARAMETERS: usize = 100_000;
const K: u32 = 2;

fn main() -> Result<(), Failure> {
    println!("Inner step beyond compute, {PARAMETERS} parameters, lookbehind with k = {K}, in ms");
    let table = Table::new(&[
        "workers",
        "gradient, best run, ms",
        "gradient, median",
        "bare sockets, best",
        "bare sockets, median",
        "inner step, best run",
        "inner step, median",
        "optimizer part",
    ]);
    let runtime = tokio::runtime::Runtime::new()?;
    for workers in [1, 2, 4, 8] {
        let (mut steps, mut optimizer, mut bare) =
            (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..rounds(5) {
            let run = runtime.block_on(run_inside(job(workers), 20))?;
            bare.push(star(PARAMETERS, workers, 200)?.median());
            let times = run.iter().filter_map(|step| step.time);
            steps.push(times.clone().map(|time| time.total - time.compute).collect::<Samples>().median());
            optimizer.push(times.map(|time| time.optimizer).collect::<Samples>().median());
        }
        let ms = |seconds: f64, parts: u32| format!("{:.2}", seconds * 1e3 / f64::from(parts));
        table.row(&[
            workers.to_string(),
            ms(steps.best(), K + 1),
            ms(steps.median(), K + 1),
            ms(bare.best(), 1),
            ms(bare.median(), 1),
            ms(steps.best(), K),
            ms(steps.median(), K),
            ms(optimizer.median(), K),
        ]);
    }
    Ok(())
}

fn job(workers: usize) -> BenchJob {
    let optimizer =
        "method = \"lookbehind\"\nk = 2\nrho = 0.05\nalpha = 0.5\nbase.lr = 1e-3\nbase.momentum = 0.9";
    BenchJob {
        parameters: PARAMETERS,
        shards: 16,
        steps: 300,
        optimizer: optimizer.to_owned(),
        exchange: ExchangeFormat::F32,
        workers,
    }
}
