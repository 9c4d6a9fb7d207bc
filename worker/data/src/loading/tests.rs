use std::sync::mpsc;

use super::*;

fn loading(limit: u64) -> Loading {
    Loading::new(&DataEnvironment::local(".".into(), limit))
}

#[test]
fn what_stays_is_held_to_the_limit_and_what_is_lent_to_the_working_memory_beyond_it() {
    let loading = loading(100);
    loading.keep(60).unwrap();
    let refused = loading.keep(41).unwrap_err().to_string();
    assert_eq!(refused, "the data set takes 101 bytes in memory, this worker's limit is 100");
    let lent = loading.lend(WORKING_MEMORY + 40).unwrap();
    assert!(loading.lend(1).is_err() && loading.keep(1).is_err());
    drop(lent);
    loading.keep(40).unwrap();
    assert!(loading.lend(WORKING_MEMORY + 1).is_err());
    assert!(loading.lend(WORKING_MEMORY).is_ok());
}

#[test]
fn decoders_wait_for_each_other_and_only_one_that_fits_nowhere_is_refused() {
    let loading = loading(100);
    assert!(loading.lend_in_turn(WORKING_MEMORY + 101).is_err());
    let first = loading.lend_in_turn(WORKING_MEMORY).unwrap();
    let (sender, receiver) = mpsc::channel();
    let waiting = {
        let loading = loading.clone();
        std::thread::spawn(move || {
            let second = loading.lend_in_turn(101).unwrap();
            // The first has said so before it gave its bytes back.
            assert_eq!(receiver.try_recv(), Ok("given back"));
            drop(second);
        })
    };
    sender.send("given back").unwrap();
    drop(first);
    waiting.join().unwrap();
    assert!(loading.lend(WORKING_MEMORY + 100).is_ok(), "all was given back");
}

#[test]
fn a_reader_fails_once_loading_is_cancelled() {
    let environment = DataEnvironment::local(".".into(), 100);
    let mut reader = Loading::new(&environment).watch(io::repeat(7));
    let mut bytes = [0; 3];
    reader.read_exact(&mut bytes).unwrap();
    environment.cancellation.cancel();
    let error = reader.read_exact(&mut bytes).unwrap_err();
    assert!(Cancelled::is_cause_of(&error), "{error}");
}

#[test]
fn every_kind_of_data_set_asks_whether_it_is_still_wanted() {
    use crate::test_support::{data_folder, f32_tensor, i64_tensor, parameters, write_file};
    use lookbehind_data_fixtures::images::png;
    use serde_json::json;

    let (folder, environment) = data_folder();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("table.csv", b"a,label\n1,0\n");
    write("cifar.bin", &[0; 3074]);
    write("images", &[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7]);
    write("labels", &[0, 0, 8, 1, 0, 0, 0, 1, 0]);
    write("train/class/image.png", &png(2, 2, 1, &[0; 4]));
    write_file(
        &folder.path().join("tensors"),
        &[f32_tensor("inputs", &[1, 1], &[0.0]), i64_tensor("targets", &[0])],
    );
    let idx = json!({ "train": { "images": "images", "labels": "labels" } });
    type Load = fn(
        &lookbehind_common::job::Parameters,
        &DataEnvironment,
    ) -> Result<Box<dyn crate::Dataset>, DataError>;
    let mut kinds: Vec<(Load, serde_json::Value)> = vec![
        (crate::csv, json!({ "train": "table.csv" })),
        (crate::cifar100, json!({ "train": "cifar.bin" })),
        (crate::idx, idx),
        (crate::folder, json!({ "train": "train" })),
        (crate::safetensors, json!({ "train": "tensors" })),
    ];
    if cfg!(feature = "parquet") {
        #[cfg(feature = "parquet")]
        {
            use lookbehind_data_fixtures::parquet_file::{HUB, write};
            let rows = [(Some(png(2, 2, 1, &[0; 4])), Some(0))];
            let plain = ::parquet::basic::Compression::UNCOMPRESSED;
            write(&folder.path().join("rows.parquet"), HUB, plain, 1, &rows);
        }
        kinds.push((crate::parquet, json!({ "train": "rows.parquet" })));
    }
    for (load, given) in &kinds {
        assert!(load(&parameters(given.clone()), &environment).is_ok(), "{given}");
    }
    environment.cancellation.cancel();
    for (load, given) in &kinds {
        let error = load(&parameters(given.clone()), &environment).err();
        assert!(matches!(error, Some(DataError::Cancelled)), "{given}: {error:?}");
    }
}
