//! Fuzz targets: everything that reads input from others, against arbitrary bytes.
//!
//! Each target has a corpus under `fuzz/__fuzz__/<target>/corpus`. Inputs whose names begin with `valid` must be
//! accepted and all others must be refused. `cargo test` replays it, then tries random bytes and mutants of the corpus,
//! two seconds per target. For longer runs, of all targets or of one:
//!
//! ```text
//! BOLERO_RANDOM_TEST_TIME_MS=600000 cargo test --release -p lookbehind-tests --test fuzz -- job_file::mutants
//! ```
//!
//! Coverage can guide a run of `<target>::inputs` with `cargo bolero test`, which needs libFuzzer; the inputs that it
//! adds to a corpus are named by their hashes, and only have to satisfy the properties.
//!
//! An input that makes a target fail is left in `fuzz/__fuzz__/<target>/crashes`, which is replayed as well. It moves
//! to the corpus with the change that fixes the failure.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

// The file of a target has the target's name. Its module has another one, because a module of the target's own name
// holds its tests: bolero and the corpus address them as `<target>::inputs`.
#[path = "assembly.rs"]
mod assembly_target;
#[path = "checkpoint.rs"]
mod checkpoint_target;
#[path = "data_files.rs"]
mod data_files_target;
#[path = "data_set.rs"]
mod data_set_target;
#[path = "job_file.rs"]
mod job_file_target;
#[path = "job_wire.rs"]
mod job_wire_target;
#[path = "journal.rs"]
mod journal_target;
mod memory;
#[path = "model_file.rs"]
mod model_file_target;
mod mutants;
#[path = "parser.rs"]
mod parser_target;
mod tape;

/// A folder in memory if possible, because targets write many small files.
fn scratch_folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a temporary folder")
}

/// The tests of a target, which is a function that checks its properties and returns whether it accepted the bytes.
macro_rules! target {
    ($name:ident, $check:path) => {
        mod $name {
            use std::time::Duration;

            use crate::mutants;

            const NAME: &str = stringify!($name);

            /// The corpus and random bytes; libFuzzer drives this test.
            #[test]
            fn inputs() {
                bolero::check!(name = NAME).with_test_time(Duration::from_millis(300)).for_each(
                    |bytes: &[u8]| {
                        $check(bytes);
                    },
                );
            }

            #[test]
            fn mutants() {
                let mutants = mutants::of(mutants::corpus(NAME));
                bolero::check!(name = concat!(stringify!($name), "_mutants"))
                    .with_generator(mutants)
                    .with_test_time(Duration::from_millis(1500))
                    .for_each(|mutant| {
                        let _kept = mutants::KeptIfFailing(NAME, &mutant.0);
                        $check(&mutant.0);
                    });
            }

            #[test]
            fn exactly_the_valid_inputs_of_the_corpus_are_accepted() {
                let named = |file: &str| !file.bytes().all(|byte| byte.is_ascii_hexdigit());
                for (file, bytes) in mutants::corpus(NAME).into_iter().filter(|(file, _)| named(file)) {
                    assert_eq!($check(&bytes), file.starts_with("valid"), "{file}");
                }
            }
        }
    };
}

target!(archive_file, crate::data_files_target::check_archive);
target!(assembly, crate::assembly_target::check);
target!(checkpoint, crate::checkpoint_target::check);
target!(cifar_batch, crate::data_files_target::check_cifar_batch);
target!(cifar_file, crate::data_files_target::check_cifar);
target!(csv_file, crate::data_files_target::check_csv);
target!(csv_of_images_file, crate::data_files_target::check_csv_of_images);
target!(idx_file, crate::data_files_target::check_idx);
target!(image_file, crate::data_files_target::check_image);
target!(parquet_file, crate::data_files_target::check_parquet);
target!(data_set, crate::data_set_target::check);
target!(job_file, crate::job_file_target::check);
target!(job_wire, crate::job_wire_target::check);
target!(journal, crate::journal_target::check);
target!(model_file, crate::model_file_target::check);
target!(parser, crate::parser_target::check);
target!(webdataset_file, crate::data_files_target::check_webdataset);
