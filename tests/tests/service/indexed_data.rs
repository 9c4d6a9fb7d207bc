//! Data that are indexed and not loaded into memory: they train to the same bytes, and a worker whose images are other ones
//! changes nothing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lookbehind_common::job::JobFile;
use lookbehind_data_fixtures::images::png;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::small_with;
use lookbehind_tests::scripted::{HoldAt, Scripted};
use lookbehind_worker::compute::CandleBackend;
use lookbehind_worker::data::{DataEnvironment, RemoteData};
use lookbehind_worker::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Images of each class.
const IMAGES: usize = 24;

/// Writes a folder of images; `pixel` is the value of the first pixel of one of them.
fn write(root: &Path, pixel: u8) {
    for (class, name) in ["ant", "bee"].into_iter().enumerate() {
        fs::create_dir_all(root.join("set").join(name)).unwrap();
        for number in 0..IMAGES {
            let mut pixels: Vec<u8> =
                (0..16).map(|place| (place * (class + 3) * 7 + number * 5) as u8).collect();
            if (class, number) == (0, 2) {
                pixels[0] = pixel;
            }
            fs::write(root.join(format!("set/{name}/{number:02}.png")), png(4, 4, 1, &pixels)).unwrap();
        }
    }
}

fn job(loading: &str) -> JobFile {
    small_with(|job| {
        job.data.kind = "folder".to_owned();
        let Value::Object(parameters) = json!({ "train": "set", "test": "set", "loading": loading }) else {
            panic!("parameters are an object")
        };
        job.data.parameters = parameters;
    })
}

fn backend(data: &Path, cache: &Path) -> Arc<CandleBackend> {
    let remote = RemoteData::new(Vec::new(), cache.to_owned(), 1 << 30);
    let environment = DataEnvironment { remote, ..DataEnvironment::local(data.to_owned(), 64 << 20) };
    Arc::new(CandleBackend::new(Registry::builtin(), environment))
}

/// The digest that the data train to in memory.
async fn digest() -> String {
    let cluster = Cluster::of(1).await;
    write(cluster.data(), 7);
    cluster.client().run(&job("memory")).await.digest().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexed_data_train_to_the_same_digest_as_in_memory() {
    let mut cluster = Cluster::new().await;
    write(cluster.data(), 7);
    let cache = TempDir::new().unwrap();
    for name in ["first", "second"] {
        cluster.add(name, backend(cluster.data(), cache.path())).await;
    }
    let history = cluster.client().run(&job("indexed")).await;
    history.check_whole();
    assert_eq!(history.digest(), digest().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_one_image_differs_in_one_pixel_is_refused_before_it_computes() {
    let mut cluster = Cluster::new().await;
    write(cluster.data(), 7);
    let (other, caches) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(other.path(), 8);
    let (gate, script) = HoldAt::new(0, 1);
    cluster.add("first", Scripted::new(backend(cluster.data(), &caches.path().join("1")), script)).await;
    let id = cluster.client().submit(&job("indexed")).await;
    let mut watcher = cluster.client().watch(&id).await;
    gate.reached().await;
    cluster.add("second", backend(other.path(), &caches.path().join("2"))).await;
    watcher.until_said(&["second", "refused"]).await;
    gate.open();
    let history = watcher.to_the_end().await;
    history.check_whole();
    assert!(history.said(&["second", "first", "data fingerprint"]), "{:?}", history.notices);
    assert_eq!(history.digest(), digest().await);
}

/// Changes records of a kept file, but none of those that are decoded when it is opened; its index says what they were.
fn change_records(cache: &Path) {
    let path = fs::read_dir(cache).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&path).unwrap();
    for name in ["ant", "bee"] {
        // Of 48 images 32 are decoded: all but every third.
        for number in (2..IMAGES).step_by(3) {
            let name = format!("set/{name}/{number:02}.png");
            let found = bytes.windows(name.len()).position(|window| window == name.as_bytes());
            bytes[found.unwrap() + name.len() + 45] ^= 1;
        }
    }
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_records_are_not_those_of_its_index_is_refused_by_name_and_changes_no_gradient() {
    let mut cluster = Cluster::new().await;
    write(cluster.data(), 7);
    let caches = TempDir::new().unwrap();
    let (first, second) = (caches.path().join("1"), caches.path().join("2"));
    // The second worker has indexed the data before.
    let spec = job("indexed").validate().unwrap();
    backend(cluster.data(), &second).data_report(&spec).unwrap();
    change_records(&second);
    let (gate, script) = HoldAt::new(0, 1);
    cluster.add("first", Scripted::new(backend(cluster.data(), &first), script)).await;
    let id = cluster.client().submit(&job("indexed")).await;
    let mut watcher = cluster.client().watch(&id).await;
    gate.reached().await;
    cluster.add("second", backend(cluster.data(), &second)).await;
    watcher.until_said(&["second", ".png", "its content is another one"]).await;
    gate.open();
    let history = watcher.to_the_end().await;
    history.check_whole();
    assert_eq!(history.digest(), digest().await);
}
