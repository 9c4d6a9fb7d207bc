//! Data sets in files of foreign formats: whatever the bytes are, a worker refuses them with a short message and little
//! memory, or gets samples on which a model can be trained.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use lookbehind_worker::data::{
    DataEnvironment, DataError, Dataset, SampleContext, Split, cifar10, csv, folder, idx, parquet, webdataset,
};
use rayon::ThreadPool;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{memory, scratch_folder};

/// Memory limit of the samples, in bytes.
const MEMORY: u64 = 1 << 20;
/// Memory of readers and decoders in addition to the samples: buffers, and several copies of an image of the greatest
/// size, or the 32 MiB that loading may have in use meanwhile.
const BASE_MEMORY: usize = 40 << 20;

static FOLDER: LazyLock<TempDir> = LazyLock::new(scratch_folder);

thread_local! {
    /// Images are decoded on this thread, so that their memory is counted.
    static POOL: ThreadPool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build()
        .expect("a pool of this thread");
}

type Load = fn(&serde_json::Map<String, Value>, &DataEnvironment) -> Result<Box<dyn Dataset>, DataError>;

/// A folder for this thread alone, because tests run in parallel.
fn own_folder(target: &str) -> PathBuf {
    let path = FOLDER.path().join(format!("{target}-{:?}", std::thread::current().id()));
    std::fs::create_dir_all(&path).expect("a writable folder");
    path
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join(name), bytes).expect("a writable file");
}

fn check(root: PathBuf, parameters: Value, bytes: &[u8], load: Load) -> Option<Box<dyn Dataset>> {
    POOL.with(|_| ());
    let environment = DataEnvironment::local(root, MEMORY);
    let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
    match memory::within(BASE_MEMORY + 100 * bytes.len(), || load(&parameters, &environment)) {
        Ok(data) => {
            holds_samples(data.as_ref());
            Some(data)
        }
        Err(error) => {
            assert!(!error.is_fault_of_job(), "{error}");
            assert!(error.to_string().len() <= 4 * bytes.len() + 2000, "a long error");
            None
        }
    }
}

fn holds_samples(data: &dyn Dataset) {
    let description = data.description();
    let elements = description.train_samples * description.input_size() as u64;
    assert!(description.train_samples > 0 && elements <= MEMORY);
    let samples: Vec<u64> = (0..description.train_samples).collect();
    let context = SampleContext { seed: 0, epoch: 0 };
    let batch = data.batch(Split::Train, &samples, context).expect("all samples");
    assert!(batch.targets.iter().all(|target| (target.class as usize) < description.classes));
    assert!(batch.inputs.iter().all(|number| number.is_finite()));
    assert!(data.batch(Split::Train, &[description.train_samples], context).is_err());
}

/// Checks a training file of CIFAR-10.
pub(crate) fn check_cifar(bytes: &[u8]) -> bool {
    let folder = own_folder("cifar");
    write(&folder, "train.bin", bytes);
    write(&folder, "test.bin", &[0; 3073]);
    check(folder, json!({ "train": "train.bin", "test": "test.bin" }), bytes, cifar10).is_some()
}

/// Checks a CSV table.
pub(crate) fn check_csv(bytes: &[u8]) -> bool {
    let folder = own_folder("csv");
    write(&folder, "train.csv", bytes);
    check(folder, json!({ "train": "train.csv" }), bytes, csv).is_some()
}

/// Checks a CSV table that names images.
pub(crate) fn check_csv_of_images(bytes: &[u8]) -> bool {
    let folder = own_folder("csv-of-images");
    for value in 0..3_u8 {
        let image = lookbehind_data_fixtures::images::png(2, 2, 1, &[value; 4]);
        write(&folder, &format!("{value}.png"), &image);
    }
    write(&folder, "damaged.png", b"\x89PNG\r\n\x1a\n");
    write(&folder, "train.csv", bytes);
    check(folder, json!({ "train": "train.csv", "image": "file" }), bytes, csv).is_some()
}

/// Checks an IDX file of images, with a file of as many labels as it claims to have images.
pub(crate) fn check_idx(bytes: &[u8]) -> bool {
    let folder = own_folder("idx");
    let claimed = bytes.get(4..8).map_or(0, |count| u32::from_be_bytes(count.try_into().expect("4 bytes")));
    let labels = claimed.min(1000);
    write(&folder, "images", bytes);
    write(&folder, "labels", &[&[0, 0, 8, 1][..], &labels.to_be_bytes(), &vec![0; labels as usize]].concat());
    let pair = json!({ "images": "images", "labels": "labels" });
    let data = check(folder, json!({ "train": pair, "test": pair }), bytes, idx);
    let plain = bytes.starts_with(&[0, 0, 8, 3]);
    if let Some(data) = data.as_ref().filter(|_| plain) {
        let description = data.description();
        assert_eq!(bytes.len() - 16, description.train_samples as usize * description.input_size());
    }
    data.is_some()
}

/// Checks a PNG or JPEG image.
pub(crate) fn check_image(bytes: &[u8]) -> bool {
    let root = own_folder("image");
    std::fs::create_dir_all(root.join("train/class")).expect("a writable folder");
    write(&root, "train/class/image.png", bytes);
    check(root, json!({ "train": "train" }), bytes, folder).is_some()
}

/// Checks a Parquet table of images or numbers, and labels.
pub(crate) fn check_parquet(bytes: &[u8]) -> bool {
    let folder = own_folder("parquet");
    write(&folder, "train.parquet", bytes);
    check(folder, json!({ "train": "train.parquet" }), bytes, parquet).is_some()
}

/// Checks an archive of folders of images.
pub(crate) fn check_archive(bytes: &[u8]) -> bool {
    let root = own_folder("archive");
    write(&root, "train", bytes);
    check(root, json!({ "train": "train", "nested": true }), bytes, folder).is_some()
}

/// Checks a training file of CIFAR-10 in the form of a pickled batch.
pub(crate) fn check_cifar_batch(bytes: &[u8]) -> bool {
    let folder = own_folder("batch");
    write(&folder, "batch", bytes);
    check(folder, json!({ "train": "batch" }), bytes, cifar10).is_some()
}

/// Checks a shard of a WebDataset.
pub(crate) fn check_webdataset(bytes: &[u8]) -> bool {
    let folder = own_folder("webdataset");
    write(&folder, "train.tar", bytes);
    check(folder, json!({ "train": "train.tar" }), bytes, webdataset).is_some()
}
