//! The way of a sum to the host: piece by piece through pinned memory; what has arrived is copied on while more comes.

use std::ops::Range;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream};

use crate::cuda::{Pinned, address, copy_in_parallel};
use crate::ops::written;

/// Numbers of a piece.
const PIECE: usize = 1 << 20;

/// The pinned memory of a GPU's results.
#[derive(Default)]
pub(super) struct Download {
    memory: Option<Pinned<f32>>,
}

/// Pieces on their way.
pub(super) struct Queued {
    len: usize,
    pieces: Vec<(Range<usize>, CudaEvent)>,
}

impl Download {
    /// Lets a stream copy numbers to the pinned memory.
    pub(super) fn queue(&mut self, numbers: &CudaSlice<f32>, stream: &CudaStream) -> Result<Queued> {
        let len = numbers.len();
        let memory = match &mut self.memory {
            Some(memory) if memory.len() >= len => memory,
            other => other.insert(Pinned::zeros(stream.context(), len)?),
        };
        let mut pieces = Vec::new();
        for start in (0..len).step_by(PIECE) {
            let piece = start..len.min(start + PIECE);
            let from = address(numbers) + (start * size_of::<f32>()) as u64;
            memory.download(piece.clone(), from, stream)?;
            pieces.push((piece, stream.record_event(None).w()?));
        }
        Ok(Queued { len, pieces })
    }

    /// The numbers, as soon as they are there.
    pub(super) fn arrived(&self, queued: Queued) -> Result<Vec<f32>> {
        let mut arrived = Ok(());
        let numbers = written(queued.len, |numbers| {
            arrived = queued.pieces.iter().try_for_each(|(piece, event)| {
                event.synchronize().w()?;
                let memory = self.memory.as_ref().map_or(&[][..], |memory| memory.read(piece.clone()));
                copy_in_parallel(memory, &mut numbers[piece.clone()]);
                Ok(())
            });
            if arrived.is_err() {
                numbers.fill(f32::NAN);
            }
        });
        arrived.map(|()| numbers)
    }
}
