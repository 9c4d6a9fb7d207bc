//! Copies weights to all GPUs, piece by piece through pinned memory: the next piece is written while one is copied.

use std::sync::{Arc, PoisonError};

use cudarc::driver::CudaContext;
use lookbehind_common::model_state::ModelState;

use super::device_thread::DeviceThread;
use super::trouble::of_device;
use crate::compute::ComputeError;
use lookbehind_kernels::cuda::Pinned;

/// Elements in a piece.
const PIECE: usize = 1 << 20;

/// The pinned memory of parameters and running statistics, divided into pieces that are copied independently.
pub(super) struct Upload {
    pieces: Vec<Pinned<f32>>,
    /// The GPU whose driver allocated the memory.
    ordinal: usize,
}

impl Upload {
    /// Memory for weights of these lengths, in elements.
    ///
    /// # Errors
    /// If no pinned memory is left.
    pub(super) fn new(lengths: ModelState<usize>, context: &Arc<CudaContext>) -> Result<Self, ComputeError> {
        let ordinal = context.ordinal();
        let pieces = <[usize; 2]>::from(lengths)
            .into_iter()
            .flat_map(|len| (0..len).step_by(PIECE).map(move |start| len - start));
        let pieces = pieces.map(|left| Pinned::zeros(context, PIECE.min(left)));
        let pieces = pieces.collect::<candle_core::Result<_>>();
        Ok(Self { pieces: pieces.map_err(|error| of_device(error, ordinal))?, ordinal })
    }

    /// Queues copies of weights to where the GPUs receive their weights, one GPU after the other.
    ///
    /// # Errors
    /// If the lengths are not those that this was created for, or a GPU fails.
    pub(super) fn send(
        &mut self,
        weights: ModelState<&[f32]>,
        device_threads: &[DeviceThread],
    ) -> Result<(), ComputeError> {
        let pieces = <[&[f32]; 2]>::from(weights).into_iter().flat_map(|values| values.chunks(PIECE));
        let (found, expected) = (pieces.clone().count(), self.pieces.len());
        if found != expected {
            return Err(ComputeError::Other(format!("weights in {found} pieces, expected {expected}")));
        }
        let mut first = 0;
        for (piece, pinned) in pieces.zip(&mut self.pieces) {
            pinned.write(piece).map_err(|error| of_device(error, self.ordinal))?;
            for device_thread in device_threads {
                // After a panic of another thread copies may still be running; the landing keeps track of them.
                let mut weights = device_thread.weights.lock().unwrap_or_else(PoisonError::into_inner);
                let filled = weights.fill(first, pinned, piece.len());
                filled.map_err(|error| of_device(error, device_thread.ordinal))?;
            }
            first += piece.len();
        }
        Ok(())
    }
}
