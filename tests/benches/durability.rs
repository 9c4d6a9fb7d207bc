//! What it costs that a run can be audited and resumed: the digest of every outer step, and the checkpoints.

use std::time::Instant;

use lookbehind_common::digest::weights_digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::model_state::ModelState;
use lookbehind_tests::bench::{Failure, Samples, Table, rounds};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::job;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Outer steps between two checkpoints, about one second.
const EVERY: u64 = 25;
/// Outer steps that are not counted.
const WARMUP: usize = 20;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut without, mut with, mut parameters) = (Samples::default(), Samples::default(), 0);
    for _ in 0..rounds(7) {
        without.push(runtime.block_on(seconds_per_step(0, &mut parameters)));
        with.push(runtime.block_on(seconds_per_step(EVERY, &mut parameters)));
    }
    let digest = digest_seconds(parameters)?;
    println!("Cost of durability, {parameters} parameters, lookbehind with k = 2, 2 workers in this process");
    let table = Table::new(&["run", "ms per outer step, best", "median", "share of the run, best", "median"]);
    let ms = |seconds: f64| format!("{:.3}", seconds * 1e3);
    let share = |cost: f64, whole: f64| format!("{:.1} %", 100.0 * cost / whole);
    let empty = String::new;
    table.row(&["without checkpoints".into(), ms(without.best()), ms(without.median()), empty(), empty()]);
    table.row(&[
        format!("a checkpoint after every {EVERY}th"),
        ms(with.best()),
        ms(with.median()),
        share(with.best() - without.best(), without.best()),
        share(with.median() - without.median(), without.median()),
    ]);
    table.row(&[
        "of each outer step: the digest for the audit trail".into(),
        ms(digest.best()),
        ms(digest.median()),
        share(digest.best(), without.best()),
        share(digest.median(), without.median()),
    ]);
    Ok(())
}

/// Mean seconds of an outer step.
async fn seconds_per_step(every: u64, parameters: &mut usize) -> f64 {
    let cluster = Cluster::of(2).await;
    let spec = job(&format!(
        "name = \"durability\"\n[model]\nkind = \"mlp\"\nhidden = [512, 512]\n[data]\nkind = \"digits\"\n\
         [train]\nsteps = 200\nbatch_size = 256\nshards = 8\n[eval]\nevery_epochs = 0\n\
         [optimizer]\nrho = 0.05\n[checkpoint]\nevery_steps = {every}\n"
    ));
    let id = cluster.client().submit(&spec).await;
    let history = cluster.client().finish(&id).await;
    let (weights, _) = cluster.client().weights(&id).await;
    *parameters = weights.values().map(|(_, values)| values.len()).sum();
    let times: Vec<f64> =
        history.steps.iter().skip(WARMUP).filter_map(|step| Some(step.time?.total)).collect();
    times.iter().sum::<f64>() / times.len() as f64
}

/// Seconds that the digest of this number of parameters takes.
fn digest_seconds(parameters: usize) -> Result<Samples, Failure> {
    let tensor = TensorSpec { name: "weight".into(), shape: vec![parameters], kind: TensorKind::Parameter };
    let layout = Layout::new([tensor])?;
    let parameters = FlatBuffer::from(vec![0.5; parameters]);
    let weights = ModelState { parameters, ..ModelState::default() };
    let timed = |_| {
        let begun = Instant::now();
        std::hint::black_box(weights_digest(&layout, &weights));
        begun.elapsed().as_secs_f64()
    };
    Ok((0..200).map(timed).collect())
}
