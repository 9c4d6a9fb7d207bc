//! Copies a sum to the host, piece by piece through pinned memory, so that the host copies one piece while the next
//! arrives.

use candle_core::Result;
use cudarc::driver::CudaSlice;
use rayon::prelude::*;

use lookbehind_kernels::cuda::{COPIED_AT_ONCE, Pinned};

/// Elements in a piece.
const PIECE: usize = 1 << 20;

/// The pinned memory of a GPU's results, divided into pieces that arrive independently.
#[derive(Default)]
pub(super) struct Download {
    pieces: Vec<Pinned<f32>>,
}

/// Values that are being copied.
pub(super) struct Queued<'a> {
    pieces: &'a mut [Pinned<f32>],
    len: usize,
}

impl Download {
    /// Queues a copy of values to the pinned memory, in the order of their stream.
    pub(super) fn queue(&mut self, elements: &CudaSlice<f32>) -> Result<Queued<'_>> {
        let len = elements.len();
        let starts = (0..len).step_by(PIECE);
        for (number, start) in starts.clone().enumerate() {
            let needed = PIECE.min(len - start);
            if self.pieces.get(number).is_none_or(|piece| piece.capacity() < needed) {
                self.pieces.truncate(number);
                self.pieces.push(Pinned::zeros(elements.context(), needed)?);
            }
            self.pieces[number].download(elements, start, needed)?;
        }
        Ok(Queued { pieces: &mut self.pieces[..starts.len()], len })
    }
}

impl Queued<'_> {
    /// Waits for the values and returns them.
    pub(super) fn arrived(self) -> Result<Vec<f32>> {
        let mut elements = Vec::with_capacity(self.len);
        for piece in self.pieces {
            let arrived = piece.read()?;
            let arrived = &arrived[..arrived.len().min(self.len - elements.len())];
            elements.par_extend(arrived.par_iter().with_min_len(COPIED_AT_ONCE).copied());
        }
        Ok(elements)
    }
}
