//! The compiled kernels of `kernels/*.cu`, loaded once for each stream and launched by the functions that [`table`]
//! declares.
//!
//! A new kernel needs two things: its source in `kernels/*.cu`, which the build finds by itself, and its declaration in
//! `kernels/table.rs`. A test compares the declarations with the sources on any machine, with or without a GPU.

mod argument;
#[macro_use]
mod declare;
mod grid;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::driver::{CudaFunction, CudaSlice, CudaStream, PushKernelArg};
use cudarc::nvrtc::Ptx;
use half::bf16;

use super::flat::{PIECE, Piece};
use super::targets::DeviceTarget;
use super::{DType, Gpu};
use argument::Argument;
use grid::Grid;

pub(crate) use argument::{PoolWindows, WindowsOf};
pub(crate) use grid::COLUMNS;
pub(crate) use table::*;

/// Name and PTX of every source; the build script generates the list.
const SOURCES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The kernels of one stream, by name.
pub(super) struct Kernels {
    stream: Arc<CudaStream>,
    functions: HashMap<&'static str, CudaFunction>,
}

impl Kernels {
    /// Loads every kernel that is declared.
    ///
    /// # Errors
    /// When one of them is missing from its source, or the driver fails.
    pub(super) fn load(stream: &Arc<CudaStream>) -> Result<Self> {
        let mut functions = HashMap::new();
        for (source, names) in DECLARED {
            let Some((_, ptx)) = SOURCES.iter().find(|(compiled, _)| compiled == source) else {
                candle_core::bail!("no kernels were compiled from {source}.cu")
            };
            let module = stream.context().load_module(Ptx::from_src(*ptx)).w()?;
            for &name in names.iter().copied().flatten() {
                functions.insert(name, module.load_function(name).w()?);
            }
        }
        Ok(Self { stream: Arc::clone(stream), functions })
    }

    /// Launches a kernel.
    ///
    /// # Safety
    /// The arguments are those of the kernel's declaration in its source, and all memory that it accesses on this grid
    /// is valid in the order of this stream.
    #[allow(unsafe_code, reason = "a launch is unsafe: the kernel believes its arguments")]
    unsafe fn launch(&self, name: &'static str, grid: Grid, arguments: &[Argument]) -> Result<()> {
        if grid.is_empty() {
            return Ok(());
        }
        let Some(function) = self.functions.get(name) else {
            candle_core::bail!("kernel {name} was not loaded")
        };
        let mut launch = self.stream.launch_builder(function);
        for argument in arguments {
            match argument {
                Argument::Pointer(value) => launch.arg(value),
                Argument::Int(value) => launch.arg(value),
                Argument::Long(value) => launch.arg(value),
                Argument::Float(value) => launch.arg(value),
                Argument::Double(value) => launch.arg(value),
                Argument::Windows(value) => launch.arg(value),
            };
        }
        // SAFETY: the caller guarantees it.
        unsafe { launch.launch(grid.0) }.w()?;
        Ok(())
    }
}

/// Number of elements in memory with these extents.
fn elements(extents: &[usize]) -> Result<usize> {
    let len = extents.iter().try_fold(1_usize, |len, &extent| len.checked_mul(extent));
    // The kernels compute offsets in signed 64-bit integers, and no element has more than 64 bytes.
    match len {
        Some(len) if len <= isize::MAX as usize / 64 => Ok(len),
        _ => candle_core::bail!("extents {extents:?} are too large for memory"),
    }
}

/// Number of chunks of `each` rows.
///
/// # Errors
/// When a chunk has no rows.
pub(crate) fn chunks(rows: usize, each: usize) -> Result<usize> {
    if each == 0 {
        candle_core::bail!("chunks of 0 rows, expected at least 1");
    }
    Ok(rows.div_ceil(each))
}

/// Whether the channels divide into groups of equal size.
fn divides(groups: usize, channels: usize) -> bool {
    groups > 0 && channels.is_multiple_of(groups)
}

/// A block for each group of each sample. The kernels count a group's elements in 32 bits.
fn set_blocks(samples: usize, [pixels, channels, groups]: [usize; 3]) -> Result<Grid> {
    let set = elements(&[pixels, channels])? / groups;
    Argument::int(set)?;
    Grid::rows(elements(&[samples, groups])?, set)
}
