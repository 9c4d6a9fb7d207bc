//! The sum over a part of a node, shard by shard as their samples come.

use std::sync::mpsc::Receiver;

use lookbehind_common::contribution::Sums;
use lookbehind_common::reduction::{Node, Reduction};

use super::replica::Replica;
use super::sum::Sum;
use crate::compute::samples::Inputs;
use crate::compute::{Stopped, Watch};

/// Queues shards and the additions of their sums.
pub(super) struct Summing<'a> {
    replica: &'a mut Replica,
    samples: &'a Receiver<Inputs>,
    watch: &'a dyn Watch,
    counted: Vec<Sums>,
}

impl<'a> Summing<'a> {
    pub(super) fn new(replica: &'a mut Replica, samples: &'a Receiver<Inputs>, watch: &'a dyn Watch) -> Self {
        Self { replica, samples, watch, counted: Vec::new() }
    }

    /// What was counted in the shards that are done, in their order.
    pub(super) fn counted(self) -> Vec<Sums> {
        self.counted
    }
}

impl Reduction for Summing<'_> {
    type Sum = Sum;
    type Error = Stopped;

    fn part(&mut self, node: Node) -> Result<Option<Sum>, Stopped> {
        if node.len() > 1 {
            return Ok(None);
        }
        if self.watch.is_overtaken() {
            return Err(Stopped::Overtaken);
        }
        self.counted.extend(self.replica.make_room(self.watch)?);
        // The thread that sends samples has stopped, and says why.
        let inputs = self.samples.recv().map_err(|_| Stopped::Overtaken)?;
        Ok(Some(self.replica.shard(inputs)?))
    }

    fn add(&mut self, left: Sum, right: Sum) -> Result<Sum, Stopped> {
        Ok(self.replica.add(left, right)?)
    }
}
