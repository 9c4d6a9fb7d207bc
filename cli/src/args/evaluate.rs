//! The arguments of the commands about trained models: `evaluate`, `predict` and `export`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use lookbehind_common::evaluate::{BatchStatistics, EvaluatedSplit, NoiseKind, SharpnessMeasure};
use lookbehind_worker::RemoteArgs;

use super::Remote;

/// Where job and data of a model are.
#[derive(Clone, Debug, Args)]
pub struct Subject {
    /// The job file, which says model and data; by default that of the (first) model's folder or job
    #[arg(long, value_name = "JOB.toml", value_hint = ValueHint::FilePath)]
    pub job: Option<PathBuf>,
    /// Folder of the data files that the job names; by default the job file's folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,
    /// Number of threads, by default as many as the machine has; the result does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Where the coordinator is, for models that are given as jobs
    #[command(flatten)]
    pub coordinator: Remote,
    /// Where data files may come from in addition to the data folder
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// `evaluate`.
#[derive(Debug, Args)]
pub struct Evaluate {
    /// Models: files, folders that --out has filled, or identities of jobs. All get the same draws and samples
    #[arg(value_name = "MODEL", required = true, value_hint = ValueHint::AnyPath)]
    pub models: Vec<String>,
    /// Job, data and threads
    #[command(flatten)]
    pub subject: Subject,
    /// Samples on which loss and accuracy are computed: test or train
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    pub split: EvaluatedSplit,
    /// Noise on the weights: multiplicative, relative_max, additive or quantize, and the levels if not the usual ones;
    /// may be given several times
    #[arg(long, value_name = "KIND[=LEVEL,…]", value_parser = noise)]
    pub noise: Vec<(NoiseKind, Vec<f64>)>,
    /// Draws of noise for each level
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub draws: u32,
    /// Statistics of normalisation layers under noise: frozen, recalibrated or both
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "frozen")]
    pub batch_statistics: Vec<BatchStatistics>,
    /// Measures of sharpness: one_step, worst_l2, worst_adaptive_l2, worst_adaptive_linf, average_l2, average_linf,
    /// average_adaptive_l2, average_adaptive_linf
    #[arg(long, value_name = "MEASURE,…", value_delimiter = ',')]
    pub sharpness: Vec<SharpnessMeasure>,
    /// Radii of sharpness; by default from 0.01 to 1, and those of the job's method
    #[arg(
        long,
        value_name = "RHO,…",
        value_delimiter = ',',
        requires = "sharpness",
        allow_negative_numbers = true
    )]
    pub radii: Vec<f64>,
    /// Training samples for sharpness and Hessian
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub samples: u64,
    /// Samples of a batch that climbs by itself: the m of m-sharpness
    #[arg(long = "m", value_name = "M", default_value_t = 128)]
    pub m: u64,
    /// Draws of average sharpness
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub sharpness_draws: u32,
    /// Steps of the ascents to the worst weights
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub ascent_steps: u32,
    /// Compute the greatest eigenvalues and the trace of the Hessian
    #[arg(long)]
    pub hessian: bool,
    /// Eigenvalues of the Hessian
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub eigenvalues: u32,
    /// Most products of the Hessian with vectors for them
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub iterations: u32,
    /// Probes of the Hessian's trace
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub probes: u32,
    /// Compute the running statistics anew from training batches before anything else
    #[arg(long)]
    pub recalibrate: bool,
    /// Training batches from which running statistics are computed anew
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub recalibration_batches: u32,
    /// The model with which the others are compared; by default the first
    #[arg(long, value_name = "MODEL")]
    pub baseline: Option<String>,
    /// Key of all draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Leave records, tables and curves in this folder; an evaluation that was interrupted goes on there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Write into a folder that holds other files, too; of those, only files of the same names are replaced
    #[arg(long, requires = "out")]
    pub force: bool,
}

/// `predict`.
#[derive(Debug, Args)]
pub struct Predict {
    /// The model: a file, a folder that --out has filled, or the identity of a job
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub model: String,
    /// New samples, in the form of the job's data: tables, folders or files of images, safetensors files. They need no
    /// labels. Without any, the samples of --split
    #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub files: Vec<PathBuf>,
    /// Job, data and threads
    #[command(flatten)]
    pub subject: Subject,
    /// The job's own samples: test or train
    #[arg(long, value_name = "SPLIT", default_value = "test", conflicts_with = "files")]
    pub split: EvaluatedSplit,
    /// Write to this file: a table if its name ends in .csv, one line of JSON per sample otherwise
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
    /// Replace the file
    #[arg(long, requires = "out")]
    pub force: bool,
}

/// `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The model: a file, a folder that --out has filled, or the identity of a job
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub model: String,
    /// Job and data, which are read only if the job does not say what its samples are
    #[command(flatten)]
    pub subject: Subject,
    /// Write ONNX instead of safetensors
    #[arg(long)]
    pub onnx: bool,
    /// The file to write
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
    /// Replace the file
    #[arg(long)]
    pub force: bool,
}

/// A kind of noise with its levels; none stand for the usual ones.
fn noise(text: &str) -> Result<(NoiseKind, Vec<f64>), String> {
    let (kind, levels) = match text.split_once('=') {
        None => (text, Vec::new()),
        Some((kind, levels)) => {
            let level = |text: &str| {
                text.trim().parse::<f64>().map_err(|_| format!("expected levels as numbers, found {text:?}"))
            };
            (kind, levels.split(',').map(level).collect::<Result<_, _>>()?)
        }
    };
    Ok((kind.parse::<NoiseKind>().map_err(|error| error.to_string())?, levels))
}
