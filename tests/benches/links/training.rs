//! Whole outer steps of ResNet-18, beside PyTorch.

use std::time::Duration;

use lookbehind_tests::bench::{Failure, Hosts, Samples, Spread, Table, Trained};

use crate::Options;
use crate::torch::ranks;

/// Samples in a batch.
const BATCH: usize = 64;
/// Ascent steps of an outer step.
const CLIMBS: [usize; 2] = [2, 5];
/// Where the ascent steps are taken, and the format of what workers exchange.
const VARIANTS: [(&str, &str); 4] =
    [("global", "f32"), ("global", "bf16"), ("shard", "f32"), ("shard", "bf16")];
/// Outer steps before those that are measured.
const JOINING: usize = 2;
/// How long training may take.
const TRAINING: Duration = Duration::from_secs(600);

/// Whole outer steps of a model that is really trained.
pub(crate) fn train(options: &Options) -> Result<(), Failure> {
    println!(
        "ResNet-18, batches of {BATCH}; seconds per outer step, best / median of {}; DDP: 2k backward passes",
        options.gradients
    );
    let table = Table::new(&[
        "workers",
        "link, Mbit/s",
        "k",
        "perturbation",
        "exchange",
        "computing, s",
        "all else, s",
        "together, s",
        "DDP, s",
        "together / DDP",
    ]);
    for rate in &options.rate {
        for workers in &options.workers {
            let hosts = options.hosts(*rate, *workers)?;
            for climbs in CLIMBS {
                let arguments = [*workers, BATCH, climbs, options.gradients as usize];
                let ddp = ranks(&hosts, options.placement(), *workers, "ddp_outer_step.py", &arguments)?;
                for (perturbation, exchange) in VARIANTS {
                    let job = job(options, *workers, climbs, perturbation, exchange);
                    let ours = train_one(options, &hosts, *workers, &job)?;
                    let variant = [workers.to_string(), rate.to_string(), climbs.to_string()];
                    let variant = variant.into_iter().chain([perturbation.into(), exchange.into()]);
                    table.row(&variant.chain(seconds(&ours, &ddp)).collect::<Vec<_>>());
                }
            }
        }
    }
    Ok(())
}

fn job(options: &Options, workers: usize, climbs: usize, perturbation: &str, exchange: &str) -> String {
    let steps = options.gradients as usize + JOINING;
    format!(
        "name = \"resnet\"\n[model]\nkind = \"resnet\"\nname = \"resnet18\"\n[data]\nkind = \"digits\"\n\
         [train]\nsteps = {steps}\nbatch_size = {BATCH}\nshards = {workers}\nexchange = \"{exchange}\"\n\
         [checkpoint]\nevery_steps = 0\n[resources]\nmin_workers = {workers}\n\
         [optimizer]\nmethod = \"lookbehind\"\nascent = \"sam\"\nk = {climbs}\nrho = 0.05\nalpha = 0.5\n\
         perturbation = \"{perturbation}\"\nbase.lr = 1e-3"
    )
}

fn train_one(options: &Options, hosts: &Hosts, workers: usize, job: &str) -> Result<Trained, Failure> {
    let measured = options.gradients as usize;
    let spread = Spread::start_trainers(hosts, options.placement(), workers)?;
    spread.train(job, measured + JOINING, measured, TRAINING)
}

/// The cells of what was measured.
fn seconds(ours: &Trained, ddp: &Samples) -> [String; 5] {
    let both = |samples: &Samples| format!("{:.2} / {:.2}", samples.best(), samples.median());
    let of_torch = |cell: String| if ddp.best().is_finite() { cell } else { String::new() };
    [
        both(&ours.computing),
        both(&ours.other),
        both(&ours.total),
        of_torch(both(ddp)),
        of_torch(format!("{:.2}", ours.total.median() / ddp.median())),
    ]
}
