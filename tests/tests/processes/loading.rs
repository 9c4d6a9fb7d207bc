//! Data that would not fit into a worker's memory: it is refused within the limit, and the worker works on.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use lookbehind_tests::cluster::small_digest;
use lookbehind_tests::jobs::{small, small_with};
use lookbehind_tests::machines::Machines;
use lookbehind_worker::data::WORKING_MEMORY;
use serde_json::json;

/// What the worker may have in use for a job, in MiB.
const LIMIT: u64 = 64;
/// What the process may grow by in addition to limit and working memory: memory that its allocator keeps for the next
/// allocation, and what each of its threads has for itself.
const SLACK: u64 = 32 << 20;
/// Bytes of the tables when they are unpacked: many times what the worker may have.
const UNPACKED: usize = 1 << 30;

/// Writes `start` and then `piece` again and again.
fn write_all(mut file: impl Write, start: &str, piece: &str) {
    file.write_all(start.as_bytes()).unwrap();
    let block = piece.repeat((1 << 20) / piece.len());
    for _ in 0..UNPACKED / block.len() {
        file.write_all(block.as_bytes()).unwrap();
    }
}

fn zstandard(path: &Path, start: &str, piece: &str, window: u32) {
    let mut encoder = zstd::Encoder::new(File::create(path).unwrap(), 1).unwrap();
    encoder.window_log(window).unwrap();
    write_all(&mut encoder, start, piece);
    encoder.finish().unwrap();
}

fn gzip(path: &Path, start: &str, piece: &str) {
    let file = File::create(path).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    write_all(&mut encoder, start, piece);
    encoder.finish().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_table_takes_more_memory_than_the_worker_may_have() {
    let machines = Machines::new().await;
    let data = machines.path("data");
    zstandard(&data.join("endless-row"), "a,label\n1,0\n\"", "1", 20);
    zstandard(&data.join("endless-cells"), "a,label\n1,0\n0,0", ",1", 20);
    zstandard(&data.join("endless-header"), "label,a", ",a", 20);
    zstandard(&data.join("many-rows"), "a,label\n", "1,0\n", 20);
    zstandard(&data.join("wide-window"), "a,label\n", "1,0\n", 27);
    gzip(&data.join("packed-rows"), "a,label\n", "1,0\n");
    let worker = machines.worker_with("small", &["--memory", &LIMIT.to_string()]).await;
    machines.client.run(&small()).await;
    let before = worker.peak_memory();
    for (file, expected) in [
        ("endless-row", "line 3, column \"a\": longer than"),
        ("endless-cells", "line 3 has more cells"),
        ("endless-header", "the data set takes"),
        ("many-rows", "this worker's limit is 67108864"),
        ("wide-window", "this worker's limit is 67108864"),
        ("packed-rows", "this worker's limit is 67108864"),
    ] {
        let job = small_with(|job| {
            job.data.kind = "csv".to_owned();
            job.data.parameters = [("train".to_owned(), json!(file))].into_iter().collect();
        });
        let message = machines.client.run_to_failure(&job).await;
        let grown = worker.peak_memory() - before;
        let most = (LIMIT << 20) + WORKING_MEMORY + SLACK;
        assert!(grown <= most, "{file}: the worker grew by {grown} bytes, expected at most {most}");
        assert!(message.contains(expected), "{file}: {message}");
    }
    assert_eq!(machines.client.run(&small()).await.digest(), small_digest().await);
}
