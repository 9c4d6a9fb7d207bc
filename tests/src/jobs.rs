//! Jobs for tests, and the data that they train on.

use std::path::{Path, PathBuf};

use lookbehind_common::job::{JobFile, parse_toml};

use crate::files::write_samples;
use crate::reference::{Samples, read_samples};

/// File name of the small data set in a cluster's data folder.
pub const SMALL: &str = "small.safetensors";
/// Number of samples in it: batches of 24 leave one of 5, which is fewer than 8 shards.
pub const SMALL_ROWS: usize = 197;

/// Folder of a parity case.
pub fn parity(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/parity").join(case)
}

/// The parity cases of multilayer perceptrons.
pub const MLP_CASES: [&str; 7] = [
    "sgd",
    "sam",
    "asam",
    "lookbehind-sam-k2",
    "lookbehind-sam-k3-multistep",
    "lookbehind-sam-k5-adaptive",
    "lookbehind-asam-k2-adaptive",
];

/// The parity cases of residual networks. Each has one shard, because batch normalisation is computed over a shard.
pub const RESNET_CASES: [&str; 2] = ["resnet-one-sgd-step", "resnet-one-lookbehind-sam-step"];

/// A job from its text.
///
/// # Panics
/// If the text is not a valid job file.
pub fn job(text: &str) -> JobFile {
    parse_toml(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The first samples of the fixtures' digits.
pub fn samples(rows: usize) -> Samples {
    let mut samples = read_samples(&parity("sgd").join("data.safetensors"));
    samples.inputs.truncate(rows);
    samples.targets.truncate(rows);
    samples
}

/// Writes the small data set into a folder.
pub fn write_small(folder: &Path) {
    write_samples(&folder.join(SMALL), &samples(SMALL_ROWS));
}

/// A job of a few tens of milliseconds on the small data set: shuffled, 8 shards, batches that do not divide the
/// data, Lookbehind with k = 2.
pub fn small() -> JobFile {
    job(SMALL_JOB)
}

/// The text of the small job's file.
pub const SMALL_JOB: &str = r#"
        name = "small"
        seed = 3
        [model]
        kind = "mlp"
        hidden = [16]
        [data]
        kind = "safetensors"
        train = "small.safetensors"
        [train]
        epochs = 2
        batch_size = 24
        shards = 8
        [optimizer]
        method = "lookbehind"
        k = 2
        rho = 0.05
        alpha = 0.5
        [optimizer.base]
        kind = "sgd"
        lr = 0.1
        momentum = 0.9
        weight_decay = 5e-4
"#;

/// The text of a longer job: the small job with so many outer steps that a test can act while it runs. A checkpoint is
/// written every hundred steps.
pub fn long_job() -> String {
    let longer = SMALL_JOB.replace("epochs = 2", &format!("steps = {LONG_STEPS}"));
    longer.replace("small\"\n", "long\"\n") + "[checkpoint]\nevery_steps = 100\n"
}

/// Outer steps of the long job.
pub const LONG_STEPS: u64 = 1000;

/// The small job with a change.
pub fn small_with(change: impl FnOnce(&mut JobFile)) -> JobFile {
    let mut job = small();
    change(&mut job);
    job
}

/// Makes a job wait for exactly `workers` workers and accept no more.
pub fn on_workers(job: &mut JobFile, workers: u32) {
    job.resources.min_workers = Some(workers);
    job.resources.max_workers = Some(workers);
}
