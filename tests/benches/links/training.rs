//! Whole outer steps of ResNet-18, beside PyTorch.

use std::time::Duration;

use lookbehind_tests::bench::{Failure, Samples, Spread, Table};

use crate::Options;
use crate::torch::ranks;

/// Samples in a batch, and ascent steps of an outer step.
const BATCH: usize = 64;
const CLIMBS: usize = 2;
/// Outer steps before those that are measured.
const JOINING: usize = 2;
/// How long training may take.
const TRAINING: Duration = Duration::from_secs(600);

/// Whole outer steps of a model that is really trained.
pub(crate) fn train(options: &Options) -> Result<(), Failure> {
    println!(
        "ResNet-18, batches of {BATCH}, k = {CLIMBS}; seconds per outer step, best / median of {}",
        options.gradients
    );
    let table = Table::new(&["workers", "link, Mbit/s", "ours, s", "DDP, s", "ours / DDP"]);
    for rate in &options.rate {
        for workers in &options.workers {
            let hosts = options.hosts(*rate, *workers)?;
            let (measured, steps) = (options.gradients as usize, options.gradients as usize + JOINING);
            let text = format!(
                "name = \"resnet\"\n[model]\nkind = \"resnet\"\nname = \"resnet18\"\n[data]\nkind = \"digits\"\n\
                 [train]\nsteps = {steps}\nbatch_size = {BATCH}\nshards = {workers}\n[checkpoint]\nevery_steps = 0\n\
                 [resources]\nmin_workers = {workers}\n[optimizer]\nmethod = \"lookbehind\"\nascent = \"sam\"\n\
                 k = {CLIMBS}\nrho = 0.05\nalpha = 0.5\nbase.lr = 1e-3"
            );
            let spread = Spread::start_trainers(&hosts, options.placement(), *workers)?;
            let ours = spread.train(&text, steps, measured, TRAINING)?;
            drop(spread);
            let arguments = [*workers, BATCH, CLIMBS, measured];
            let ddp = ranks(&hosts, options.placement(), *workers, "ddp_outer_step.py", &arguments)?;
            let both = |samples: &Samples| format!("{:.2} / {:.2}", samples.best(), samples.median());
            let has_torch = ddp.best().is_finite();
            let of_torch = |cell: String| if has_torch { cell } else { String::new() };
            table.row(&[
                workers.to_string(),
                rate.to_string(),
                both(&ours),
                of_torch(both(&ddp)),
                of_torch(format!("{:.2}", ours.median() / ddp.median())),
            ]);
        }
    }
    Ok(())
}
