//! Numbers of blocks and threads that kernels run on.

use candle_core::Result;
use cudarc::driver::LaunchConfig;

/// Threads of a block that handles elements one by one; `THREADS` in `elements.cuh`.
const THREADS: u32 = 256;
/// Columns and rows of a block that handles columns; `COLUMNS` and `ROWS` there.
pub(crate) const COLUMNS: u32 = 32;
const ROWS: u32 = 8;

/// Blocks and threads of a launch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid(pub(super) LaunchConfig);

impl Grid {
    /// A thread for each of `len` elements.
    pub(super) fn over(len: usize) -> Result<Self> {
        Self::new([len.div_ceil(THREADS as usize), 1], (THREADS, 1, 1))
    }

    /// A block for each of `rows` rows of `columns` elements. Its number of threads is a power of two, as sums over a
    /// block need.
    pub(super) fn rows(rows: usize, columns: usize) -> Result<Self> {
        let mut threads = 32;
        while threads < THREADS && (threads as usize) < columns {
            threads *= 2;
        }
        Self::new([rows, 1], (threads, 1, 1))
    }

    /// Blocks that add up `columns` columns of partial sums.
    pub(super) fn columns(columns: usize) -> Result<Self> {
        Self::new([columns.div_ceil(COLUMNS as usize), 1], (COLUMNS, ROWS, 1))
    }

    /// Blocks for chunks of `rows_per_chunk` rows, each block for some columns.
    pub(super) fn chunks(columns: usize, rows: usize, rows_per_chunk: usize) -> Result<Self> {
        let across = columns.div_ceil(COLUMNS as usize);
        Self::new([across, super::chunks(rows, rows_per_chunk)?], (COLUMNS, ROWS, 1))
    }

    fn new(blocks: [usize; 2], threads: (u32, u32, u32)) -> Result<Self> {
        let [across, down] = blocks.map(u32::try_from);
        let (Ok(across), Ok(down)) = (across, down) else {
            candle_core::bail!("{blocks:?} blocks, expected at most {}", u32::MAX)
        };
        Ok(Self(LaunchConfig { grid_dim: (across, down, 1), block_dim: threads, shared_mem_bytes: 0 }))
    }

    /// Whether there are no blocks; the driver refuses to launch such a grid.
    pub(super) fn is_empty(&self) -> bool {
        self.0.grid_dim.0 == 0 || self.0.grid_dim.1 == 0
    }
}
