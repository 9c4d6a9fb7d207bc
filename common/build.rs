//! Compiles the wire protocol without a system `protoc`.

use std::path::PathBuf;

const FILES: [&str; 4] = [
    "lookbehind/v1/types.proto",
    "lookbehind/v1/job_service.proto",
    "lookbehind/v1/worker_service.proto",
    "lookbehind/v1/tensor_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../proto");
    let mut compiler = protox::Compiler::new(["../proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("lookbehind_descriptor.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().bytes(".").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
