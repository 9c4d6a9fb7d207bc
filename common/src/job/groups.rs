//! Parameter groups: how tensors whose names match a pattern are trained. The job's text and the checked job have the same
//! form, since every key is optional.

use serde::{Deserialize, Serialize};

use super::suggest::did_you_mean;
use crate::layout::{Layout, TensorSpec};

/// One group: the tensors whose names match one of its patterns, and what is different for them. A tensor that several
/// groups match takes each key from the last one that has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Patterns of names of parameters: `*` stands for any characters, `?` for one.
    pub tensors: Vec<String>,
    /// Factor of the learning rate; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr_factor: Option<f64>,
    /// Weight decay, in place of the base optimizer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Whether the tensors keep their initial values; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<bool>,
    /// Whether the tensors are perturbed; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ascent: Option<bool>,
}

/// How the tensors of a model are trained where it is not as the base optimizer says.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    /// The groups, in the order of the job.
    pub list: Vec<Group>,
    /// Whether the base optimizer's weight decay acts on tensors of fewer than two dimensions: on biases, and on weights of
    /// normalisation layers.
    pub decay_biases_and_norms: bool,
}

impl Default for Groups {
    /// All tensors are trained alike.
    fn default() -> Self {
        Self { list: Vec::new(), decay_biases_and_norms: true }
    }
}

/// How one tensor is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorRule {
    /// Factor of the learning rate.
    pub lr_factor: f64,
    /// Weight decay; `None` means the base optimizer's.
    pub weight_decay: Option<f64>,
    /// Whether it keeps its initial values.
    pub frozen: bool,
    /// Whether it is perturbed; a frozen one is not.
    pub ascends: bool,
}

/// Why groups do not fit a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// A pattern that matches nothing.
    #[error("optimizer.groups[{group}].tensors: {pattern:?} matches no parameter of the model{suggestion}")]
    NoMatch {
        /// Number of the group, from 0.
        group: usize,
        /// The pattern.
        pattern: String,
        /// Which name was probably meant; empty if none is near.
        suggestion: String,
    },
    /// There would be nothing to train.
    #[error("optimizer.groups: expected at least one parameter that is not frozen, found none")]
    AllFrozen,
    /// There would be nothing to perturb.
    #[error(
        "optimizer.groups: expected at least one parameter that takes part in the ascent, found none; method sgd or \
         lookahead trains without ascents"
    )]
    NoneAscends,
}

impl Groups {
    /// How a tensor is trained.
    pub fn rule(&self, tensor: &TensorSpec) -> TensorRule {
        let exempt = !self.decay_biases_and_norms && tensor.shape.len() < 2;
        let matching = |group: &&Group| group.tensors.iter().any(|pattern| matches(pattern, &tensor.name));
        let mut rule =
            TensorRule { lr_factor: 1.0, weight_decay: exempt.then_some(0.0), frozen: false, ascends: true };
        for group in self.list.iter().filter(matching) {
            rule.lr_factor = group.lr_factor.unwrap_or(rule.lr_factor);
            rule.weight_decay = group.weight_decay.or(rule.weight_decay);
            rule.frozen = group.frozen.unwrap_or(rule.frozen);
            rule.ascends = group.ascent.unwrap_or(rule.ascends);
        }
        TensorRule { ascends: rule.ascends && !rule.frozen, ..rule }
    }

    /// Checks that every pattern matches a parameter, that something is trained, and, with `ascends`, that something is
    /// perturbed.
    ///
    /// # Errors
    /// Names the first pattern that matches nothing, or says what is missing.
    pub fn check(&self, layout: &Layout, ascends: bool) -> Result<(), GroupError> {
        let names = || layout.parameter_entries().map(|entry| entry.spec.name.as_str());
        for (group, pattern) in
            self.list.iter().enumerate().flat_map(|(n, group)| group.tensors.iter().map(move |p| (n, p)))
        {
            if !names().any(|name| matches(pattern, name)) {
                let suggestion = did_you_mean(pattern, names());
                return Err(GroupError::NoMatch { group, pattern: pattern.clone(), suggestion });
            }
        }
        let rules = || layout.parameter_entries().map(|entry| self.rule(&entry.spec));
        if rules().all(|rule| rule.frozen) {
            return Err(GroupError::AllFrozen);
        }
        if ascends && !rules().any(|rule| rule.ascends) {
            return Err(GroupError::NoneAscends);
        }
        Ok(())
    }
}

/// Whether a name matches a pattern with `*` and `?`. Takes at most the product of their lengths in steps: after a
/// mismatch, only the last `*` is tried again.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stands, and up to where it has been stretched.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match (pattern.get(p), star) {
            (Some('*'), _) => {
                star = Some((p, n));
                p += 1;
            }
            (Some(&sign), _) if sign == '?' || sign == name[n] => (p, n) = (p + 1, n + 1),
            (_, Some((at, stretched))) => {
                star = Some((at, stretched + 1));
                (p, n) = (at + 1, stretched + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|&sign| sign == '*')
}

#[cfg(test)]
mod tests;
