//! The way of a sum to the host: piece by piece through pinned memory; what has arrived is copied on while more comes.

use candle_core::Result;
use cudarc::driver::CudaSlice;
use rayon::prelude::*;

use lookbehind_kernels::cuda::{COPIED_AT_ONCE, Pinned};

/// Numbers of a piece.
const PIECE: usize = 1 << 20;

/// The pinned memory of a GPU's results, in pieces that are on their way each by itself.
#[derive(Default)]
pub(super) struct Download {
    pieces: Vec<Pinned<f32>>,
}

/// Numbers on their way.
pub(super) struct Queued<'a> {
    pieces: &'a mut [Pinned<f32>],
    len: usize,
}

impl Download {
    /// Lets a GPU copy numbers to the pinned memory, in the order of their stream.
    pub(super) fn queue(&mut self, numbers: &CudaSlice<f32>) -> Result<Queued<'_>> {
        let len = numbers.len();
        let starts = (0..len).step_by(PIECE);
        for (number, start) in starts.clone().enumerate() {
            let needed = PIECE.min(len - start);
            if self.pieces.get(number).is_none_or(|piece| piece.capacity() < needed) {
                self.pieces.truncate(number);
                self.pieces.push(Pinned::zeros(numbers.context(), needed)?);
            }
            self.pieces[number].download(numbers, start, needed)?;
        }
        Ok(Queued { pieces: &mut self.pieces[..starts.len()], len })
    }
}

impl Queued<'_> {
    /// The numbers, as soon as they are there.
    pub(super) fn arrived(self) -> Result<Vec<f32>> {
        let mut numbers = Vec::with_capacity(self.len);
        for piece in self.pieces {
            let arrived = piece.read()?;
            let arrived = &arrived[..arrived.len().min(self.len - numbers.len())];
            numbers.par_extend(arrived.par_iter().with_min_len(COPIED_AT_ONCE).copied());
        }
        Ok(numbers)
    }
}
