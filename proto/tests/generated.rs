//! The generated code that is checked in is what the `.proto` files say.

use std::path::{Path, PathBuf};

const FILES: [&str; 5] = [
    "lookbehind/v1/types.proto",
    "lookbehind/v1/job_service.proto",
    "lookbehind/v1/worker_service.proto",
    "lookbehind/v1/tensor_service.proto",
    "lookbehind/v1/peer_service.proto",
];

/// What rewrites the checked-in files.
const UPDATE: &str = "UPDATE=1 cargo test --release -p lookbehind-proto --test generated";

/// Generates the code and the descriptors into a folder.
fn generate(protos: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut compiler = protox::Compiler::new([protos])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    std::fs::write(out.join("lookbehind.v1.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .bytes(".")
        // In the order of their keys, so that equal messages are equal bytes.
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .out_dir(out)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

#[test]
fn the_generated_code_is_what_the_proto_files_say() {
    let crate_folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let checked_in = crate_folder.join("src/generated");
    let fresh = tempfile::tempdir().expect("a scratch folder");
    generate(&crate_folder, fresh.path()).expect("code from valid .proto files");
    for name in ["lookbehind.v1.rs", "lookbehind.v1.bin"] {
        let expected = std::fs::read(fresh.path().join(name)).expect("a generated file");
        let path = checked_in.join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &expected).expect("an updated file");
        }
        let found = std::fs::read(&path).unwrap_or_default();
        assert!(
            found == expected,
            "{} is not what the .proto files say; run\n\n    {UPDATE}\n",
            path.display()
        );
    }
}
