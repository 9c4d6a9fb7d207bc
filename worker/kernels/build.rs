//! With the feature `cuda`: compiles the kernels in `src/cuda/kernels` to PTX, which the driver translates to machine
//! code for the GPU that it finds. `CUDA_COMPUTE_CAP` is the oldest GPU that they run on: 80 for compute capability
//! 8.0.

use std::env;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KERNELS: &str = "src/cuda/kernels";

/// Ampere, the first generation with bfloat16 and TF32.
const COMPUTE_CAPABILITY: &str = "80";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-changed={KERNELS}");
    for variable in ["CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut names = Vec::new();
    for entry in Path::new(KERNELS).read_dir()? {
        let source = entry?.path();
        if source.extension().is_some_and(|extension| extension == "cu") {
            names.push(compile(&source, &out)?);
        }
    }
    names.sort();
    fs::write(out.join("kernels.rs"), list(&names))?;
    Ok(())
}

/// What `src/cuda/kernels.rs` includes: each source's name with its PTX.
fn list(names: &[String]) -> String {
    let entry =
        |name: &String| format!("({name:?}, include_str!(concat!(env!(\"OUT_DIR\"), \"/{name}.ptx\"))),\n");
    format!("[\n{}]\n", names.iter().map(entry).collect::<String>())
}

/// Compiles a source; returns its name.
fn compile(source: &Path, out: &Path) -> Result<String, Box<dyn Error>> {
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| COMPUTE_CAPABILITY.to_owned());
    let name = source.file_stem().and_then(OsStr::to_str).ok_or("a kernel file without a name")?;
    let compiler = compiler();
    let status = Command::new(&compiler)
        .args(["--ptx", "-O3", "--std=c++17", "-Werror", "all-warnings"])
        .arg(format!("-arch=compute_{capability}"))
        .arg("-o")
        .arg(out.join(name).with_extension("ptx"))
        .arg(source)
        .status()
        .map_err(|error| format!("{}: {error}; set CUDA_HOME to a CUDA toolkit", compiler.display()))?;
    if status.success() { Ok(name.to_owned()) } else { Err(format!("{}: {status}", source.display()).into()) }
}

/// The compiler of the toolkit that the environment names, otherwise the one on the path.
fn compiler() -> PathBuf {
    let in_toolkit = |home: OsString| PathBuf::from(home).join("bin/nvcc");
    env::var_os("CUDA_HOME").map_or_else(|| "nvcc".into(), in_toolkit)
}
