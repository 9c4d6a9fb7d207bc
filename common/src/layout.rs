//! The layout of a model: which elements of the flat buffers belong to which tensor.

use std::collections::HashSet;
use std::ops::Range;

use crate::model_state::ModelState;
use crate::text::is_harmless;

/// Most tensors that a model may have.
const MAX_TENSORS: usize = 100_000;
/// Most bytes that a tensor's name may have.
const MAX_NAME: usize = 256;
/// Most elements that the tensors of a model may have together.
const MAX_ELEMENTS: u64 = 1 << 40;

/// Kind of a tensor, which decides in which flat buffer it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorKind {
    /// Trained by gradients.
    Parameter,
    /// A running statistic of a normalisation layer, updated from batch statistics.
    RunningStatistic,
}

/// One tensor as a model declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name as in PyTorch, for example `layers.0.weight`.
    pub name: String,
    /// Extent of each dimension, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Parameter or running statistic.
    pub kind: TensorKind,
}

/// One tensor with its place in the flat buffer of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Name, shape and kind.
    pub spec: TensorSpec,
    /// Its elements within the flat buffer of its kind, row-major.
    pub range: Range<usize>,
}

/// All tensors of a model in the model's order. All parameters lie in one flat buffer, all running statistics in
/// another, without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    entries: Vec<TensorEntry>,
    lengths: ModelState<usize>,
}

/// Why a list of tensors is not a valid layout.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LayoutError {
    /// The model has no parameters.
    #[error("the model has no parameters")]
    NoParameters,
    /// Two tensors have the same name.
    #[error("tensor {name:?}: the model declares it twice")]
    Duplicate {
        /// Their name.
        name: String,
    },
    /// A name that cannot be stored or shown.
    #[error(
        "tensor name {name:?}: expected 1 to {MAX_NAME} printable characters without '/', '\\' or a leading '.'"
    )]
    BadName {
        /// The name, cut to 64 characters.
        name: String,
    },
    /// A tensor without elements, or with too many.
    #[error("tensor {name:?}: shape {shape:?} has no elements or too many")]
    BadShape {
        /// Name of the tensor.
        name: String,
        /// Shape of the tensor.
        shape: Vec<u64>,
    },
    /// Too many tensors, or too many elements in all tensors together.
    #[error("the model has {found} tensors, more than {MAX_TENSORS}")]
    TooMany {
        /// Number of tensors up to the one that exceeds the limit.
        found: usize,
    },
}

impl Layout {
    /// Checks a model's tensors and assigns each its range in the flat buffer of its kind.
    ///
    /// # Errors
    /// If a name or shape is not valid, a name occurs twice, there are too many tensors, or there are no parameters.
    pub fn new(tensors: impl IntoIterator<Item = TensorSpec>) -> Result<Self, LayoutError> {
        let mut layout = Self::default();
        let mut names = HashSet::new();
        for spec in tensors {
            let elements = check(&spec)?;
            if !names.insert(spec.name.clone()) {
                return Err(LayoutError::Duplicate { name: spec.name });
            }
            let end = &mut layout.lengths[spec.kind];
            let range = *end..*end + elements;
            *end = range.end;
            layout.entries.push(TensorEntry { spec, range });
            if layout.entries.len() > MAX_TENSORS || layout.elements() as u64 > MAX_ELEMENTS {
                return Err(LayoutError::TooMany { found: layout.entries.len() });
            }
        }
        if layout.lengths.parameters == 0 {
            return Err(LayoutError::NoParameters);
        }
        Ok(layout)
    }

    /// The layout of some of the tensors, in their order.
    #[must_use]
    pub fn of_tensors(&self, keep: impl Fn(&TensorSpec) -> bool) -> Self {
        let mut layout = Self::default();
        for TensorEntry { spec, range } in self.entries.iter().filter(|entry| keep(&entry.spec)) {
            let end = &mut layout.lengths[spec.kind];
            let range = *end..*end + range.len();
            *end = range.end;
            layout.entries.push(TensorEntry { spec: spec.clone(), range });
        }
        layout
    }

    /// All tensors in the model's order.
    pub fn entries(&self) -> &[TensorEntry] {
        &self.entries
    }

    /// The parameters in the model's order.
    pub fn parameter_entries(&self) -> impl Iterator<Item = &TensorEntry> {
        self.entries.iter().filter(|entry| entry.spec.kind == TensorKind::Parameter)
    }

    /// Elements of all parameters together.
    pub fn parameters(&self) -> usize {
        self.lengths.parameters
    }

    /// Elements of all running statistics together.
    pub fn statistics(&self) -> usize {
        self.lengths.statistics
    }

    /// Elements of the two flat buffers.
    pub fn lengths(&self) -> ModelState<usize> {
        self.lengths
    }

    /// Elements of all tensors together.
    pub fn elements(&self) -> usize {
        self.lengths.parameters + self.lengths.statistics
    }
}

fn check(spec: &TensorSpec) -> Result<usize, LayoutError> {
    let name = &spec.name;
    let printable = is_harmless(name) && !name.contains(['/', '\\']);
    if name.is_empty()
        || name.len() > MAX_NAME
        || !printable
        || name.starts_with('.')
        || name == "__metadata__"
    {
        return Err(LayoutError::BadName { name: name.chars().take(64).collect() });
    }
    spec.shape
        .iter()
        .try_fold(1_u64, |elements, &extent| elements.checked_mul(extent as u64))
        .filter(|&elements| elements > 0 && elements <= MAX_ELEMENTS)
        .and_then(|elements| usize::try_from(elements).ok())
        .ok_or_else(|| LayoutError::BadShape {
            name: name.clone(),
            shape: spec.shape.iter().map(|&extent| extent as u64).collect(),
        })
}

#[cfg(test)]
mod tests;
