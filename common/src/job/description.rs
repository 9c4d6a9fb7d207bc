//! What a worker found a job's model and data to be.

use crate::digest::Digest;
use crate::layout::{Layout, LayoutError, TensorKind, TensorSpec};
use crate::proto::v1;

/// What a worker found a job's model and data to be; the same on every worker of the job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobDescription {
    /// All tensors of the model.
    pub layout: Layout,
    /// Samples in the training split.
    pub train_samples: u64,
    /// Samples in the test split; 0 where there is none.
    pub test_samples: u64,
    /// BLAKE3 over everything that a sample's content depends on.
    pub data_fingerprint: Digest,
}

/// Why a description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// The tensors are impossible.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A field holds what it cannot hold.
    #[error("description: {field} is not valid")]
    Field {
        /// The field.
        field: &'static str,
    },
}

impl JobDescription {
    /// The first thing in which `other` differs, in words with both values; `None` if nothing does.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self.train_samples != other.train_samples {
            return Some(format!("training samples: {} and {}", self.train_samples, other.train_samples));
        }
        if self.test_samples != other.test_samples {
            return Some(format!("test samples: {} and {}", self.test_samples, other.test_samples));
        }
        if self.data_fingerprint != other.data_fingerprint {
            return Some(format!(
                "data fingerprint: {} and {}",
                self.data_fingerprint, other.data_fingerprint
            ));
        }
        let (ours, theirs) = (self.layout.entries(), other.layout.entries());
        if let Some((a, b)) = ours.iter().zip(theirs).find(|(a, b)| a != b) {
            return Some(format!(
                "tensor {:?} {:?} and {:?} {:?}",
                a.spec.name, a.spec.shape, b.spec.name, b.spec.shape
            ));
        }
        (ours.len() != theirs.len())
            .then(|| format!("number of tensors: {} and {}", ours.len(), theirs.len()))
    }
}

impl From<&JobDescription> for v1::JobDescription {
    fn from(description: &JobDescription) -> Self {
        let tensor = |spec: &TensorSpec| v1::TensorLayout {
            name: spec.name.clone(),
            shape: spec.shape.iter().map(|&extent| extent as u64).collect(),
            kind: match spec.kind {
                TensorKind::Parameter => v1::TensorKind::Parameter,
                TensorKind::Statistic => v1::TensorKind::Statistic,
            }
            .into(),
        };
        Self {
            tensors: description.layout.entries().iter().map(|entry| tensor(&entry.spec)).collect(),
            train_samples: description.train_samples,
            test_samples: description.test_samples,
            data_fingerprint: description.data_fingerprint.0.to_vec().into(),
        }
    }
}

impl TryFrom<v1::JobDescription> for JobDescription {
    type Error = DescriptionError;

    fn try_from(message: v1::JobDescription) -> Result<Self, DescriptionError> {
        let tensors: Vec<TensorSpec> =
            message.tensors.into_iter().map(tensor_from).collect::<Result<_, _>>()?;
        Ok(Self {
            layout: Layout::new(tensors)?,
            train_samples: message.train_samples,
            test_samples: message.test_samples,
            data_fingerprint: message
                .data_fingerprint
                .as_ref()
                .try_into()
                .map(Digest)
                .map_err(|_| DescriptionError::Field { field: "data_fingerprint" })?,
        })
    }
}

fn tensor_from(message: v1::TensorLayout) -> Result<TensorSpec, DescriptionError> {
    let kind = match message.kind() {
        v1::TensorKind::Parameter => TensorKind::Parameter,
        v1::TensorKind::Statistic => TensorKind::Statistic,
        v1::TensorKind::Unspecified => return Err(DescriptionError::Field { field: "tensors.kind" }),
    };
    let shape = message
        .shape
        .iter()
        .map(|&extent| {
            usize::try_from(extent).map_err(|_| DescriptionError::Field { field: "tensors.shape" })
        })
        .collect::<Result<_, _>>()?;
    Ok(TensorSpec { name: message.name, shape, kind })
}
