//! Data sets in safetensors files: a worker loads exactly what the file contains.

use std::sync::LazyLock;

use lookbehind_worker::data::{DataEnvironment, Dataset, SampleContext, Split, safetensors};
use tempfile::TempDir;

use crate::model_file_target::{mend, parts, tensor};
use crate::{memory, scratch_folder};

/// Memory limit of the samples, in bytes.
const MEMORY: u64 = 1 << 20;

static FOLDER: LazyLock<TempDir> = LazyLock::new(scratch_folder);

/// Checks the file unchanged, and with a header length that fits its braces.
pub(crate) fn check(bytes: &[u8]) -> bool {
    load(&mend(bytes));
    load(bytes)
}

fn load(bytes: &[u8]) -> bool {
    // A name for this thread alone, because tests run in parallel.
    let name = format!("{:?}.safetensors", std::thread::current().id());
    let path = FOLDER.path().join(&name);
    std::fs::write(&path, bytes).expect("a writable file");
    let environment = DataEnvironment::local(FOLDER.path().to_owned(), MEMORY);
    let parameters = serde_json::Map::from_iter([("train".to_owned(), name.into())]);
    // One block of the reader, the samples, and the parsed header.
    let limit = (1 << 20) + 100 * bytes.len();
    match memory::within(limit, || safetensors(&parameters, &environment)) {
        Ok(data) => {
            holds_what_the_file_holds(data.as_ref(), bytes);
            true
        }
        Err(error) => {
            assert!(!error.is_fault_of_job(), "{error}");
            assert!(error.to_string().len() <= 4 * bytes.len() + 1000, "a long error");
            false
        }
    }
}

fn holds_what_the_file_holds(data: &dyn Dataset, bytes: &[u8]) {
    let (header, content) = parts(bytes);
    let (shape, inputs) = tensor(&header, content, "inputs");
    let (rows, targets) = tensor(&header, content, "targets");
    let description = data.description();
    assert_eq!((description.train_samples, description.test_samples), (shape[0] as u64, 0));
    assert_eq!((&description.input_shape[..], &rows[..]), (&shape[1..], &shape[..1]));
    assert!(inputs.len() as u64 <= MEMORY);

    let samples: Vec<u64> = (0..description.train_samples).collect();
    let context = SampleContext { seed: 0, epoch: 0 };
    let batch = data.batch(Split::Train, &samples, context).expect("all samples");
    assert_eq!(batch.shape, shape);
    assert!(batch.inputs.iter().all(|number| number.is_finite()));
    let found: Vec<u8> = batch.inputs.iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(found, inputs);

    let width = targets.len() / samples.len();
    let classes: Vec<u32> = targets.chunks(width).map(little_endian).collect();
    assert_eq!(batch.targets.iter().map(|target| target.class).collect::<Vec<_>>(), classes);
    assert_eq!(Some(description.classes), classes.iter().max().map(|class| *class as usize + 1));
    assert!(data.batch(Split::Train, &[description.train_samples], context).is_err());
}

fn little_endian(bytes: &[u8]) -> u32 {
    let number = bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    u32::try_from(number).expect("an accepted class")
}
