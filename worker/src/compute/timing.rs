//! Where the time of a gradient or test goes, on a device that can measure it.

use std::time::Duration;

/// The phases of a gradient or test, on a device that can measure them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Copying weights to the device, and into the model's tensors.
    Weights,
    /// Copying samples to the device.
    Samples,
    /// Forward passes.
    Forward,
    /// Losses and their gradients.
    Loss,
    /// Backward passes.
    Backward,
    /// Adding partials of shards.
    Sum,
    /// Copying the gradient to the host.
    Gradient,
}

/// The time of a phase, by the device's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The phase that was measured.
    pub phase: Phase,
    /// Total time of the phase.
    pub took: Duration,
}
