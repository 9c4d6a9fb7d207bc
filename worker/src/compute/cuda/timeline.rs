//! Where an evaluation's time goes on a GPU, by the GPU's own clock.

use std::time::Duration;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaEvent, CudaStream};

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

    /// A phase begins on a stream.
    pub(super) fn begin(&self, stream: &CudaStream) -> Result<Option<CudaEvent>> {
        self.spans.as_ref().map(|_| mark(stream)).transpose()
    }

    /// It ends.
    pub(super) fn end(&mut self, phase: Phase, begun: Option<CudaEvent>, stream: &CudaStream) -> Result<()> {
        if let (Some(spans), Some(begun)) = (&mut self.spans, begun) {
            spans.push(Span { phase, begun, ended: mark(stream)? });
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

fn mark(stream: &CudaStream) -> Result<CudaEvent> {
    stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).w()
}
