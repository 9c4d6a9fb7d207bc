//! The compiled kernels of `kernels/*.cu`: loaded once for each stream, found by name, launched with checked arguments.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::driver::{CudaFunction, CudaModule, CudaStream, DeviceRepr, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

/// Threads of a block that works on numbers one by one; `THREADS` in `kernels/numbers.cuh`.
const THREADS: u32 = 256;
/// Columns and rows of a block that sums columns; `COLUMNS` and `ROWS` there.
const COLUMNS: u32 = 32;
const ROWS: u32 = 8;

/// The kernels as the driver takes them.
const SOURCES: [&str; 6] = [
    include_str!(concat!(env!("OUT_DIR"), "/arena.ptx")),
    include_str!(concat!(env!("OUT_DIR"), "/batch_norm.ptx")),
    include_str!(concat!(env!("OUT_DIR"), "/elementwise.ptx")),
    include_str!(concat!(env!("OUT_DIR"), "/group_norm.ptx")),
    include_str!(concat!(env!("OUT_DIR"), "/pool.ptx")),
    include_str!(concat!(env!("OUT_DIR"), "/softmax.ptx")),
];

/// A kernel's argument.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    /// An address on the device; 0 for none.
    Pointer(u64),
    /// A 32-bit number.
    Int(i32),
    /// A 64-bit number.
    Long(i64),
    /// A factor.
    Float(f32),
    /// A factor in double precision.
    Double(f64),
    /// The windows of a pooling layer.
    Windows(PoolWindows),
}

/// `Windows` of `kernels/pool.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct PoolWindows {
    pub(crate) height: i32,
    pub(crate) width: i32,
    pub(crate) out_height: i32,
    pub(crate) out_width: i32,
    pub(crate) channels: i32,
    pub(crate) down: i32,
    pub(crate) across: i32,
    pub(crate) stride: i32,
    pub(crate) padding: i32,
    pub(crate) is_max: i32,
}

#[allow(unsafe_code, reason = "the kernel takes the same fields in the same order")]
// SAFETY: plain numbers, laid out as the kernel's structure is.
unsafe impl DeviceRepr for PoolWindows {}

/// How many blocks of how many threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid(LaunchConfig);

impl Grid {
    /// A thread for each of `len` numbers.
    pub(crate) fn over(len: usize) -> Self {
        Self::blocks(len.div_ceil(THREADS as usize), THREADS)
    }

    /// A block for each of `rows` rows of `columns` numbers.
    pub(crate) fn rows(rows: usize, columns: usize) -> Self {
        let threads = columns.clamp(32, THREADS as usize).next_power_of_two();
        Self::blocks(rows, u32::try_from(threads).unwrap_or(THREADS))
    }

    /// Blocks that sum `columns` columns of `chunks` chunks of rows each.
    pub(crate) fn columns(columns: usize, chunks: usize) -> Self {
        let across = clamped(columns.div_ceil(COLUMNS as usize));
        Self(LaunchConfig {
            grid_dim: (across, clamped(chunks), 1),
            block_dim: (COLUMNS, ROWS, 1),
            shared_mem_bytes: 0,
        })
    }

    fn blocks(blocks: usize, threads: u32) -> Self {
        Self(LaunchConfig {
            grid_dim: (clamped(blocks), 1, 1),
            block_dim: (threads, 1, 1),
            shared_mem_bytes: 0,
        })
    }

    /// Whether there is nothing to do.
    fn is_empty(&self) -> bool {
        self.0.grid_dim.0 == 0 || self.0.grid_dim.1 == 0
    }
}

/// More blocks than a grid can have are refused by the driver.
fn clamped(blocks: usize) -> u32 {
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

/// The kernels of one stream.
pub(super) struct Kernels {
    stream: Arc<CudaStream>,
    modules: Vec<(&'static str, Arc<CudaModule>)>,
    functions: RefCell<HashMap<&'static str, CudaFunction>>,
}

impl Kernels {
    pub(super) fn load(stream: &Arc<CudaStream>) -> Result<Self> {
        let load =
            |source: &'static str| Ok((source, stream.context().load_module(Ptx::from_src(source)).w()?));
        let modules = SOURCES.into_iter().map(load).collect::<Result<_>>()?;
        Ok(Self { stream: Arc::clone(stream), modules, functions: RefCell::default() })
    }

    fn function(&self, name: &'static str) -> Result<CudaFunction> {
        if let Some(known) = self.functions.borrow().get(name) {
            return Ok(known.clone());
        }
        let entry = format!(".entry {name}(");
        let module = self.modules.iter().find(|(source, _)| source.contains(&entry));
        let Some((_, module)) = module else { candle_core::bail!("no kernel is called {name:?}") };
        let function = module.load_function(name).w()?;
        self.functions.borrow_mut().insert(name, function.clone());
        Ok(function)
    }

    /// Launches a kernel; its arguments must be those of its declaration, and what they point to large enough.
    #[allow(unsafe_code, reason = "a launch is unsafe: the kernel believes its arguments")]
    pub(super) fn launch(&self, name: &'static str, grid: Grid, arguments: &[Argument]) -> Result<()> {
        if grid.is_empty() {
            return Ok(());
        }
        let function = self.function(name)?;
        let mut launch = self.stream.launch_builder(&function);
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
        // SAFETY: the callers in this crate pass what the kernel declares, with lengths that they have checked.
        unsafe { launch.launch(grid.0) }.w()?;
        Ok(())
    }
}
