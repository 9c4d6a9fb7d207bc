//! Where an evaluation's time goes on a GPU, by the GPU's own clock.

use std::time::Duration;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::driver::CudaEvent;

use lookbehind_kernels::cuda::{Gpu, Queue};

use crate::compute::{Phase, Timing};

/// What happened on a GPU's streams, from when to when; nothing is kept unless it was asked for.
#[derive(Default)]
pub(super) struct Timeline {
    spans: Option<Vec<Span>>,
}

struct Span {
    phase: Phase,
    begun: CudaEvent,
    ended: CudaEvent,
}

impl Timeline {
    /// Begins to keep spans.
    pub(super) fn keep(&mut self) {
        self.spans.get_or_insert_default();
    }

    /// A phase begins.
    pub(super) fn begin(&self, phase: Phase, gpu: &Gpu) -> Result<Option<CudaEvent>> {
        self.spans.as_ref().map(|_| gpu.mark(queue_of(phase))).transpose()
    }

    /// It ends.
    pub(super) fn end(&mut self, phase: Phase, begun: Option<CudaEvent>, gpu: &Gpu) -> Result<()> {
        if let (Some(spans), Some(begun)) = (&mut self.spans, begun) {
            spans.push(Span { phase, begun, ended: gpu.mark(queue_of(phase))? });
        }
        Ok(())
    }

    /// What the phases took since the last time that this was asked.
    pub(super) fn take(&mut self) -> Result<Vec<Timing>> {
        let Some(spans) = &mut self.spans else { return Ok(Vec::new()) };
        let mut timings: Vec<Timing> = Vec::new();
        for Span { phase, begun, ended } in spans.drain(..) {
            let took = Duration::from_secs_f64(f64::from(begun.elapsed_ms(&ended).w()?.max(0.0)) / 1e3);
            match timings.iter_mut().find(|timing| timing.phase == phase) {
                Some(timing) => timing.took += took,
                None => timings.push(Timing { phase, took }),
            }
        }
        Ok(timings)
    }
}

/// Samples are copied while something else is computed.
fn queue_of(phase: Phase) -> Queue {
    match phase {
        Phase::Samples => Queue::Copies,
        _ => Queue::Computing,
    }
}
