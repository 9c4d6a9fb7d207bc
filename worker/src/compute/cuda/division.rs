//! How a segment's shards are divided among GPUs. Results do not depend on it.

use lookbehind_common::reduction::Segment;

/// A part of a segment, and the GPU that computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) part: Segment,
    pub(super) device_thread: usize,
}

/// Each GPU gets at least this many parts, if there are enough shards: the parts of a tree differ in size, and smaller
/// parts divide more evenly.
const PARTS: u64 = 2;

/// Divides a segment into segments below it, in their order; each of `device_threads` GPUs gets a run of them with
/// about the same number of shards.
pub(super) fn divide(segment: Segment, device_threads: usize) -> Vec<Share> {
    let device_threads = device_threads.max(1) as u64;
    let largest = if device_threads == 1 {
        segment.len().into()
    } else {
        (u64::from(segment.len()) / (PARTS * device_threads)).max(1)
    };
    let mut parts = Vec::new();
    descend(segment, largest, &mut parts);
    let device_thread_of = |part: &Segment| {
        // A part is assigned by its middle, which is counted in half shards so that it is an integer.
        let middle = u64::from(part.first - segment.first) + u64::from(part.end - segment.first);
        // The cast is exact: the result is below the number of GPUs, which is a usize.
        (middle * device_threads / (2 * u64::from(segment.len()))) as usize
    };
    parts.into_iter().map(|part| Share { part, device_thread: device_thread_of(&part) }).collect()
}

fn descend(segment: Segment, largest: u64, parts: &mut Vec<Segment>) {
    match segment.children() {
        Some((left, right)) if u64::from(segment.len()) > largest => {
            descend(left, largest, parts);
            descend(right, largest, parts);
        }
        _ => parts.push(segment),
    }
}

#[cfg(test)]
mod tests;
