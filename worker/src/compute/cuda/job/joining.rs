//! Adds what several GPUs computed of a segment, in the order of the reduction tree.

use std::collections::VecDeque;

use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::partial::Sums;
use lookbehind_common::reduction::{Reduction, Segment};

use crate::compute::cuda::device_thread::DeviceThread;
use crate::compute::cuda::replica::Replica;
use crate::compute::cuda::sum::Sum;
use crate::compute::{ComputeError, Stopped};

/// Adds the counts of shards, which arrive in their order.
pub(super) struct Counting {
    pub(super) counted: VecDeque<Sums>,
}

impl Reduction for Counting {
    type Sum = Sums;
    type Error = Stopped;

    fn part(&mut self, segment: Segment) -> Result<Option<Sums>, Stopped> {
        Ok(if segment.len() == 1 { self.counted.pop_front() } else { None })
    }

    fn add(&mut self, mut left: Sums, right: Sums) -> Result<Sums, Stopped> {
        left.add(&right);
        Ok(left)
    }
}

/// Adds the parts of a segment, wherever they are: on the GPU of the left one.
pub(super) struct Joining<'a> {
    pub(super) device_threads: &'a [DeviceThread],
    pub(super) parts: VecDeque<(Segment, usize, Sum)>,
    /// Format in which gradients are added.
    pub(super) format: ExchangeFormat,
}

impl Joining<'_> {
    pub(super) fn device_thread(&self, device_thread: usize) -> Result<&DeviceThread, Stopped> {
        let missing = || ComputeError::Other(format!("no GPU has number {device_thread}"));
        self.device_threads.get(device_thread).ok_or_else(missing).map_err(Stopped::from)
    }
}

impl Reduction for Joining<'_> {
    type Sum = (usize, Sum);
    type Error = Stopped;

    fn part(&mut self, segment: Segment) -> Result<Option<(usize, Sum)>, Stopped> {
        let known = self.parts.front().is_some_and(|(part, ..)| *part == segment);
        let part = if known { self.parts.pop_front() } else { None };
        Ok(part.map(|(_, device_thread, sum)| (device_thread, sum)))
    }

    fn add(&mut self, left: (usize, Sum), right: (usize, Sum)) -> Result<(usize, Sum), Stopped> {
        let ((device_thread, left), (_, right)) = (left, right);
        let format = self.format;
        let add = move |replica: &mut Replica| replica.add(left, right, format);
        let sum = self.device_thread(device_thread)?.run(add).wait()?;
        Ok((device_thread, sum))
    }
}
