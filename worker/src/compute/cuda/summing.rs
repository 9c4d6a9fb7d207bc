//! The sum over a part of a segment, shard by shard as their samples arrive.

use std::sync::mpsc::Receiver;

use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::partial::Sums;
use lookbehind_common::reduction::{Reduction, Segment};

use super::replica::Replica;
use super::sum::Sum;
use crate::compute::samples::Inputs;
use crate::compute::{Stopped, Watch};

/// Queues shards and the additions of their sums.
pub(super) struct Summing<'a> {
    replica: &'a mut Replica,
    /// Format in which gradients are added.
    format: ExchangeFormat,
    samples: &'a Receiver<Inputs>,
    watch: &'a dyn Watch,
    counted: Vec<Sums>,
}

impl<'a> Summing<'a> {
    pub(super) fn new(
        replica: &'a mut Replica,
        format: ExchangeFormat,
        samples: &'a Receiver<Inputs>,
        watch: &'a dyn Watch,
    ) -> Self {
        Self { replica, format, samples, watch, counted: Vec::new() }
    }

    /// The counts of the shards that are done, in the order of the shards.
    pub(super) fn counted(self) -> Vec<Sums> {
        self.counted
    }
}

impl Reduction for Summing<'_> {
    type Sum = Sum;
    type Error = Stopped;

    fn part(&mut self, segment: Segment) -> Result<Option<Sum>, Stopped> {
        if segment.len() > 1 {
            return Ok(None);
        }
        if self.watch.is_superseded() {
            return Err(Stopped::Superseded);
        }
        self.counted.extend(self.replica.make_room(self.watch)?);
        // The thread that sends samples has stopped; it reports the reason itself.
        let inputs = self.samples.recv().map_err(|_| Stopped::Superseded)?;
        Ok(Some(self.replica.shard(inputs, self.format)?))
    }

    fn add(&mut self, left: Sum, right: Sum) -> Result<Sum, Stopped> {
        Ok(self.replica.add(left, right, self.format)?)
    }
}
