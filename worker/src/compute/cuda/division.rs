//! How a node's shards are divided among GPUs. Results do not depend on it.

use lookbehind_common::reduction::Node;

/// A part of a node, and the GPU that computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) part: Node,
    pub(super) lane: usize,
}

/// Parts for each GPU, at least, where there are so many shards: parts of a tree are not all of one size, and smaller ones
/// divide more evenly.
const PARTS: u64 = 2;

/// Divides a node into nodes below it, in their order; each of `lanes` GPUs gets a run of them of about the same number of
/// shards.
pub(super) fn divide(node: Node, lanes: usize) -> Vec<Share> {
    let lanes = lanes.max(1) as u64;
    let largest =
        if lanes == 1 { node.len().into() } else { (u64::from(node.len()) / (PARTS * lanes)).max(1) };
    let mut parts = Vec::new();
    descend(node, largest, &mut parts);
    let lane_of = |part: &Node| {
        // By the middle of the part, in halves of shards.
        let middle = u64::from(part.first - node.first) + u64::from(part.end - node.first);
        // Below the number of GPUs, which is a usize.
        (middle * lanes / (2 * u64::from(node.len()))) as usize
    };
    parts.into_iter().map(|part| Share { part, lane: lane_of(&part) }).collect()
}

fn descend(node: Node, largest: u64, parts: &mut Vec<Node>) {
    match node.children() {
        Some((left, right)) if u64::from(node.len()) > largest => {
            descend(left, largest, parts);
            descend(right, largest, parts);
        }
        _ => parts.push(node),
    }
}

#[cfg(test)]
mod tests;
