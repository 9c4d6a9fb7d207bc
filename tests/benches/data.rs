//! Samples per second and core: from Parquet with JPEG to batches with crop and flip, for images like CIFAR's. They are decoded
//! into memory, or indexed and decoded for each batch.
//!
//! The images are generated, unless `LOOKBEHIND_BENCH_PARQUET` names a file whose columns have the usual names.

#![allow(clippy::unwrap_used, reason = "a benchmark may end by panicking")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use lookbehind_data_fixtures::{images, parquet_file};
use lookbehind_tests::bench::{Failure, Table};
use lookbehind_worker::data::{DataEnvironment, Dataset, SampleContext, Split, parquet, with_options};
use rayon::ThreadPoolBuilder;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const VARIABLE: &str = "LOOKBEHIND_BENCH_PARQUET";
const DRAWN: usize = 10_000;
const BATCH: usize = 128;
const SECONDS: f64 = 2.0;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let file = match std::env::var_os(VARIABLE) {
        Some(file) => PathBuf::from(file),
        None => draw(folder.path()),
    };
    let cores = std::thread::available_parallelism()?.get();
    println!("Images from Parquet: {} on {cores} cores\n", file.display());
    let table = Table::new(&["step", "threads", "samples/s", "samples/s per core"]);
    let row = |step: &str, threads: usize, rate: f64| {
        let per_core = rate / threads as f64;
        table.row(&[step.into(), threads.to_string(), format!("{rate:.0}"), format!("{per_core:.0}")]);
    };
    let mut threads = vec![1];
    threads.extend((cores > 1).then_some(cores));
    for &threads in &threads {
        let begun = Instant::now();
        let data = load(&file, threads, json!({}))?;
        let rate = data.description().train_samples as f64 / begun.elapsed().as_secs_f64();
        row("read and decode", threads, rate);
    }
    let plain = json!({ "normalize": { "mean": [0.49, 0.48, 0.45], "std": [0.2, 0.2, 0.2] } });
    let augmented = with(&plain, json!({ "crop_padding": 4, "flip": true }));
    let all = with(&plain, json!({ "crop_padding": 4, "flip": true, "cutout": 16, "mixup": 0.2 }));
    for (step, options) in
        [("normalised batches", plain), ("with crop and flip", augmented), ("with cutout and mixup", all)]
    {
        let rate = batches(load(&file, cores, options)?.as_ref());
        row(step, 1, rate);
    }
    let indexed = json!({ "loading": "indexed", "augment": { "crop_padding": 4, "flip": true } });
    for &threads in &threads {
        let begun = Instant::now();
        let data = load(&file, threads, indexed.clone())?;
        row("index", threads, data.description().train_samples as f64 / begun.elapsed().as_secs_f64());
        let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
        let rate = pool.install(|| batches(data.as_ref()));
        row("indexed, decoded for each batch, crop and flip", threads, rate);
    }
    Ok(())
}

fn with(options: &Value, augment: Value) -> Value {
    let mut options = options.clone();
    options["augment"] = augment;
    options
}

/// Writes images of coloured waves.
fn draw(folder: &Path) -> PathBuf {
    let image = |sample: usize| {
        let value = |place: usize| {
            let (row, column, channel) = (place / 96, place / 3 % 32, place % 3);
            let wave = (row * (3 + sample % 7) + column * (2 + sample % 5) + channel * 40) as f64 / 30.0;
            (128.0 + 70.0 * wave.sin() + (place * 31 % 17) as f64) as u8
        };
        let pixels: Vec<u8> = (0..32 * 32 * 3).map(value).collect();
        images::jpeg(32, 32, 3, &pixels, 16)
    };
    let rows: Vec<_> = (0..DRAWN).map(|sample| (Some(image(sample)), Some((sample % 10) as i64))).collect();
    let file = folder.join("drawn.parquet");
    parquet_file::write(&file, parquet_file::HUB, ::parquet::basic::Compression::SNAPPY, 1000, &rows);
    file
}

fn load(file: &Path, threads: usize, options: Value) -> Result<Box<dyn Dataset>, Failure> {
    let root = file.parent().unwrap_or(Path::new(".")).to_owned();
    let environment = DataEnvironment::local(root, 8 << 30);
    let Value::Object(mut parameters) = options else { return Err("options are an object".into()) };
    parameters.insert("train".into(), file.file_name().unwrap_or_default().to_string_lossy().into());
    let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
    Ok(pool.install(|| with_options(&parameters, 0, |parameters| parquet(parameters, &environment)))?)
}

/// Samples per second of batches that are prepared on this thread.
fn batches(data: &dyn Dataset) -> f64 {
    let samples = data.description().train_samples;
    let begun = Instant::now();
    let mut done = 0_u64;
    while begun.elapsed().as_secs_f64() < SECONDS {
        // Far from each other, as in a shuffled epoch.
        let batch: Vec<u64> = (0..BATCH as u64).map(|place| (done + place) * 7919 % samples).collect();
        let context = SampleContext { seed: 1, epoch: done / samples };
        data.batch(Split::Train, &batch, context).unwrap();
        done += BATCH as u64;
    }
    done as f64 / begun.elapsed().as_secs_f64()
}
