use std::fs;
use std::path::{Path, PathBuf};

use lookbehind_common::digest::Digest;
use lookbehind_data_fixtures::images::{jpeg, jpeg_with_exif, png, png16};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::test_support::{data_folder, parameters};
use crate::{DataEnvironment, DataError, Dataset, RemoteData, SampleContext, Split, csv, folder, idx};

const CONTEXT: SampleContext = SampleContext { seed: 0, epoch: 0 };

/// A data folder, and an environment with a cache in another one.
fn folders() -> (TempDir, TempDir, DataEnvironment) {
    let (data, environment) = data_folder();
    let cache = TempDir::new().unwrap();
    let remote = RemoteData::new(Vec::new(), cache.path().to_owned(), 1 << 30);
    (data, cache, DataEnvironment { remote, ..environment })
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Images of all kinds that change the form of the others, in two classes and both splits.
fn write_images(root: &Path) {
    let pixels =
        |seed: usize, count: usize| (0..count).map(|place| (place * 7 + seed * 13) as u8).collect::<Vec<_>>();
    for number in 0..20 {
        write(root, &format!("train/ant/{number:02}.png"), &png(6, 5, 1, &pixels(number, 30)));
        write(root, &format!("train/bee/{number:02}.jpg"), &jpeg(6, 5, 3, &pixels(number, 90), 3));
    }
    write(root, "train/bee/turned.jpg", &jpeg_with_exif(&jpeg(5, 6, 1, &pixels(3, 30), 2), 6));
    write(root, "train/bee/Thumbs.db", b"");
    let deep: Vec<u16> = (0..30).map(|place| place * 2000).collect();
    write(root, "test/ant/deep.png", &png16(6, 5, 1, &deep));
}

fn with(extra: Value) -> Value {
    let mut all = json!({ "train": "train", "test": "test" });
    all.as_object_mut().unwrap().extend(parameters(extra));
    all
}

fn load(environment: &DataEnvironment, extra: Value) -> Result<Box<dyn Dataset>, DataError> {
    folder(&parameters(with(extra)), environment)
}

/// The inputs of a split in an order that is not that of the files.
fn inputs(data: &dyn Dataset, split: Split) -> Vec<f32> {
    let count = match split {
        Split::Train => data.description().train_samples,
        Split::Test => data.description().test_samples,
    };
    let order: Vec<u64> = (0..count).map(|place| place * 7 % count).chain([0, 0]).collect();
    data.batch(split, &order, CONTEXT).unwrap().inputs
}

/// The only file of the cache.
fn kept(cache: &TempDir) -> PathBuf {
    let mut files: Vec<PathBuf> =
        fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn samples_report_and_pixels_are_those_that_the_data_have_in_memory() {
    let (data, _cache, environment) = folders();
    write_images(data.path());
    let without_cache = DataEnvironment { remote: RemoteData::default(), ..environment.clone() };
    for form in [
        json!({}),
        json!({ "resize": [9, 4], "channels": 1 }),
        json!({ "exif_orientation": false, "resize": 4, "center_crop": [3, 3] }),
    ] {
        let in_memory = load(&environment, form.clone()).unwrap();
        let mut indexed = form.clone();
        indexed["loading"] = "indexed".into();
        indexed["fingerprint"] = "pixels".into();
        // The second time from the index that the first has kept.
        for environment in [&environment, &environment, &without_cache] {
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let data = load(environment, indexed.clone()).unwrap();
                    assert_eq!(data.report(), in_memory.report(), "{form}");
                    for split in [Split::Train, Split::Test] {
                        assert_eq!(data.labels(split).unwrap(), in_memory.labels(split).unwrap());
                        assert_eq!(inputs(data.as_ref(), split), inputs(in_memory.as_ref(), split), "{form}");
                    }
                });
            }
        }
    }
}

#[test]
fn images_that_do_not_fit_into_memory_can_be_indexed() {
    let (data, _cache, environment) = folders();
    for number in 0..40_u8 {
        write(data.path(), &format!("train/a/{number}.png"), &png(64, 64, 3, &[number; 64 * 64 * 3]));
    }
    let environment = DataEnvironment { memory_limit: 100_000, ..environment };
    let load = |extra: Value| {
        let mut all = json!({ "train": "train" });
        all.as_object_mut().unwrap().extend(parameters(extra));
        folder(&parameters(all), &environment)
    };
    assert!(matches!(load(json!({})).err().unwrap(), DataError::Memory { .. }));
    let indexed = load(json!({ "loading": "indexed" })).unwrap();
    assert_eq!(inputs(indexed.as_ref(), Split::Train).len(), 42 * 64 * 64 * 3);
    for number in 0..40_u8 {
        write(data.path(), &format!("small/a/{number}.png"), &png(2, 2, 1, &[number; 4]));
    }
    let tiny = DataEnvironment { memory_limit: 1000, ..environment.clone() };
    let all = json!({ "train": "small", "loading": "indexed" });
    assert!(matches!(folder(&parameters(all), &tiny).err().unwrap(), DataError::Memory { .. }), "the index");
}

/// Where a name ends in a kept file: its image follows.
fn end_of(bytes: &[u8], name: &[u8]) -> usize {
    bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len()
}

#[test]
fn a_record_that_is_not_the_one_of_the_index_is_refused_by_name() {
    let (data, cache, environment) = folders();
    write_images(data.path());
    let load = || load(&environment, json!({ "loading": "indexed" })).unwrap();
    let fingerprint = load().description().fingerprint;
    let path = kept(&cache);
    let mut bytes = fs::read(&path).unwrap();
    let name = b"train/ant/13.png";
    let start = end_of(&bytes, name);
    bytes[start + 50] ^= 1;
    fs::write(&path, bytes).unwrap();
    // It is none of those that are decoded for the fingerprint.
    let data = load();
    assert_eq!(data.description().fingerprint, fingerprint, "the index is believed until a record is read");
    assert!(data.batch(Split::Train, &[0, 12], CONTEXT).is_ok(), "others are in order");
    let error = data.batch(Split::Train, &[0, 13], CONTEXT).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("\"train/ant/13.png\": its content is another one than when it was indexed"),
        "{text}"
    );
    assert!(!error.is_fault_of_job());
    assert!(!path.exists(), "the next job makes it anew");
    assert!(load().batch(Split::Train, &[0, 13], CONTEXT).is_ok());
}

#[test]
fn whatever_bytes_a_kept_file_has_samples_are_right_or_refused() {
    let (data, cache, environment) = folders();
    write_images(data.path());
    let load = || load(&environment, json!({ "loading": "indexed" }));
    let all: Vec<u64> = (0..41).collect();
    let right = load().unwrap().batch(Split::Train, &all, CONTEXT).unwrap();
    let path = kept(&cache);
    let whole = fs::read(&path).unwrap();
    let mut state = 20_u64;
    let mut drawn = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let mut refused = 0;
    for _ in 0..60 {
        let mut bytes = whole.clone();
        for _ in 0..=drawn(3) {
            let place = drawn(bytes.len());
            bytes[place] = drawn(256) as u8;
        }
        if drawn(8) == 0 {
            bytes.truncate(drawn(whole.len()));
        }
        fs::write(&path, bytes).unwrap();
        match load().and_then(|data| data.batch(Split::Train, &all, CONTEXT)) {
            Ok(found) => {
                assert_eq!((found.inputs, found.targets), (right.inputs.clone(), right.targets.clone()))
            }
            Err(error) => {
                assert!(
                    error.to_string().contains("its content is another one than when it was indexed"),
                    "{error}"
                );
                refused += 1;
            }
        }
    }
    assert!((1..60).contains(&refused), "{refused}");
}

#[test]
fn an_index_of_its_own_making_has_another_fingerprint() {
    let (data, cache, environment) = folders();
    write_images(data.path());
    let load = || load(&environment, json!({ "loading": "indexed" })).unwrap();
    let fingerprint = load().description().fingerprint;
    let path = kept(&cache);
    let mut bytes = fs::read(&path).unwrap();
    let name = b"train/ant/13.png";
    let image = fs::read(data.path().join("train/ant/13.png")).unwrap();
    let start = end_of(&bytes, name);
    let mut forged = image.clone();
    forged[50] ^= 1;
    bytes[start..start + image.len()].copy_from_slice(&forged);
    let place = bytes.windows(32).position(|window| window == Digest::of(&image).0).unwrap();
    bytes[place..place + 32].copy_from_slice(&Digest::of(&forged).0);
    // The digest of the index itself, behind its length.
    let end = bytes.len() - 48;
    let length = u64::from_le_bytes(bytes[end..end + 8].try_into().unwrap()) as usize;
    let digest = Digest::of(&bytes[end - length..end]);
    bytes[end + 8..end + 40].copy_from_slice(&digest.0);
    fs::write(&path, bytes).unwrap();
    let data = load();
    assert!(data.batch(Split::Train, &[12], CONTEXT).is_ok(), "it is taken for an index");
    assert_ne!(data.description().fingerprint, fingerprint);
}

#[test]
fn one_other_pixel_makes_another_index() {
    let (data, _cache, environment) = folders();
    write_images(data.path());
    let fingerprint =
        || load(&environment, json!({ "loading": "indexed" })).unwrap().description().fingerprint;
    let before = fingerprint();
    assert_eq!(fingerprint(), before);
    let mut pixels: Vec<u8> = (0..30).map(|place| (place * 7) as u8).collect();
    pixels[11] ^= 1;
    write(data.path(), "train/ant/00.png", &png(6, 5, 1, &pixels));
    assert_ne!(fingerprint(), before);
}

#[test]
fn a_kept_file_that_is_damaged_is_made_anew() {
    let (data, cache, environment) = folders();
    write_images(data.path());
    let load = || load(&environment, json!({ "loading": "indexed" })).unwrap();
    let description = load().description().clone();
    let whole = fs::read(kept(&cache)).unwrap();
    let end = whole.len();
    let cut = |length: usize| whole[..length].to_vec();
    let changed = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        bytes
    };
    // Empty, cut, with other last bytes, another digest, another length of the index, another header, another entry.
    for bytes in [
        Vec::new(),
        cut(100),
        cut(end - 1),
        changed(end - 1),
        changed(end - 20),
        changed(end - 48),
        changed(end - 60),
        changed(end - 48 - 30 * 64),
    ] {
        fs::write(kept(&cache), &bytes).unwrap();
        assert_eq!(*load().description(), description);
        assert_eq!(fs::read(kept(&cache)).unwrap(), whole, "it was written again");
    }
}

#[test]
fn damaged_images_are_left_out_while_they_are_indexed_or_refused_when_they_are_read() {
    let (data, _cache, environment) = folders();
    write_images(data.path());
    let mut bytes = fs::read(data.path().join("train/ant/13.png")).unwrap();
    bytes.truncate(50);
    write(data.path(), "train/ant/13.png", &bytes);
    let skipping = json!({ "on_damaged": "skip", "resize": [6, 5] });
    let mut indexed = skipping.clone();
    indexed["loading"] = "indexed".into();
    let [in_memory, indexed] = [skipping, indexed].map(|form| load(&environment, form).unwrap());
    assert_eq!(indexed.report().findings, in_memory.report().findings);
    assert_eq!(inputs(indexed.as_ref(), Split::Train), inputs(in_memory.as_ref(), Split::Train));
    let all: Vec<u64> = (0..41).collect();
    let refused = load(&environment, json!({ "loading": "indexed" }))
        .and_then(|data| data.batch(Split::Train, &all, CONTEXT))
        .unwrap_err();
    assert!(refused.to_string().contains("train/ant/13.png\": image: damaged PNG"), "{refused}");
}

#[test]
fn what_has_no_room_in_the_cache_is_refused() {
    let (data, cache, environment) = folders();
    write_images(data.path());
    let remote = RemoteData::new(Vec::new(), cache.path().to_owned(), 1000);
    let error =
        load(&DataEnvironment { remote, ..environment }, json!({ "loading": "indexed" })).err().unwrap();
    let text = error.to_string();
    assert!(text.starts_with("data cache (--data-cache, --data-cache-limit): "), "{text}");
    assert!(text.contains("have no room in the cache: 0 of 1000 are in use"), "{text}");
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn images_that_a_table_names_are_indexed_anew_each_time() {
    let (data, cache, environment) = folders();
    write_images(data.path());
    write(data.path(), "table.csv", b"path,label\ntrain/ant/00.png,0\ntrain/ant/01.png,1\n");
    let table = json!({ "train": "table.csv", "image": "path", "loading": "indexed" });
    let fingerprint = || csv(&parameters(table.clone()), &environment).unwrap().description().fingerprint;
    let before = fingerprint();
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    write(data.path(), "train/ant/01.png", &png(6, 5, 1, &[3; 30]));
    assert_ne!(fingerprint(), before);
}

#[test]
fn keys_that_have_no_meaning_are_refused() {
    let (data, _cache, environment) = folders();
    write_images(data.path());
    let error = load(&environment, json!({ "fingerprint": "pixels" })).err().unwrap().to_string();
    assert_eq!(error, "data.fingerprint: has no meaning without data.loading = \"indexed\"; remove it");
    write(data.path(), "images", &[&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1][..], &[7]].concat());
    write(data.path(), "labels", &[0, 0, 8, 1, 0, 0, 0, 1, 0]);
    let pair = json!({ "images": "images", "labels": "labels" });
    let all = json!({ "train": pair, "test": pair, "loading": "indexed" });
    let error = idx(&parameters(all), &environment).err().unwrap();
    assert!(error.is_fault_of_job());
    assert!(error.to_string().starts_with("data.loading: expected \"memory\""), "{error}");
}
