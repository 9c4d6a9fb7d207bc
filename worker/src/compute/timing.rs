//! Where an evaluation's time goes, on a device that can tell.

use std::time::Duration;

/// What an evaluation is made of, on a device that can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Weights on their way to the device, and into the model's tensors.
    Weights,
    /// Samples on their way to the device.
    Samples,
    /// Forward passes.
    Forward,
    /// Losses and their gradients.
    Loss,
    /// Backward passes.
    Backward,
    /// Sums over shards.
    Sum,
    /// The gradient on its way to the host.
    Gradient,
}

/// What a phase took, by the device's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The phase.
    pub phase: Phase,
    /// How long.
    pub took: Duration,
}
