//! What a worker found a job's model and data to be.

use crate::digest::Digest;
use crate::layout::Layout;

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
