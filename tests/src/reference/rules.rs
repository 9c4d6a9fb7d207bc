//! How each tensor is trained, from the groups of a job.

use lookbehind_common::job::OptimizerSpec;

/// How one tensor is trained.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Factor of the learning rate.
    pub lr_factor: f64,
    /// Weight decay; `None` means the base optimizer's.
    pub weight_decay: Option<f64>,
    pub frozen: bool,
    /// Whether it is perturbed.
    pub ascends: bool,
}

/// The rule of a tensor with this name and number of dimensions.
pub(super) fn rule(spec: &OptimizerSpec, name: &str, dimensions: usize) -> Rule {
    let mut rule = Rule { lr_factor: 1.0, weight_decay: None, frozen: false, ascends: true };
    if dimensions < 2 && !spec.groups.decay_biases_and_norms {
        rule.weight_decay = Some(0.0);
    }
    for group in &spec.groups.list {
        if group.tensors.iter().any(|pattern| matches(pattern.as_bytes(), name.as_bytes())) {
            rule.lr_factor = group.lr_factor.unwrap_or(rule.lr_factor);
            rule.weight_decay = group.weight_decay.or(rule.weight_decay);
            rule.frozen = group.frozen.unwrap_or(rule.frozen);
            rule.ascends = group.ascent.unwrap_or(rule.ascends);
        }
    }
    Rule { ascends: rule.ascends && !rule.frozen, ..rule }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], _) => name.is_empty(),
        ([b'*', rest @ ..], _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, left)| matches(pattern, left))
        }
        ([sign, rest @ ..], [first, left @ ..]) => (*sign == b'?' || sign == first) && matches(rest, left),
        (_, []) => false,
    }
}
