//! Conversions between a job's description and its message.

use lookbehind_common::digest::Digest;
use lookbehind_common::job::JobDescription;
use lookbehind_common::layout::{Layout, LayoutError, TensorKind, TensorSpec};
use lookbehind_common::test_set::FurtherTests;

use crate::v1;

/// Why the message of a description cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// The tensors are not a valid layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The value of a field is not valid.
    #[error("description: {field} is not valid")]
    Field {
        /// Name of the field.
        field: &'static str,
    },
}

impl From<&JobDescription> for v1::JobDescription {
    fn from(description: &JobDescription) -> Self {
        let tensor = |spec: &TensorSpec| v1::TensorLayout {
            name: spec.name.clone(),
            shape: spec.shape.iter().map(|&extent| extent as u64).collect(),
            kind: match spec.kind {
                TensorKind::Parameter => v1::TensorKind::Parameter,
                TensorKind::RunningStatistic => v1::TensorKind::Statistic,
            }
            .into(),
        };
        Self {
            tensors: description.layout.entries().iter().map(|entry| tensor(&entry.spec)).collect(),
            train_samples: description.train_samples,
            test_samples: description.test_samples,
            data_fingerprint: description.data_fingerprint.0.to_vec().into(),
            class_names: description.class_names.clone(),
            data_report: description.data_report.clone(),
            validation_samples: description.further_tests.validation,
            clean_samples: description.further_tests.clean,
            memorised_samples: description.further_tests.memorised,
        }
    }
}

impl TryFrom<v1::JobDescription> for JobDescription {
    type Error = DescriptionError;

    fn try_from(message: v1::JobDescription) -> Result<Self, DescriptionError> {
        let names = message.class_names.len();
        let class_names = JobDescription::names_within_limit(message.class_names);
        if class_names.len() != names {
            return Err(DescriptionError::Field { field: "class_names" });
        }
        let lines = message.data_report.len();
        let data_report = JobDescription::report_within_limit(message.data_report);
        if data_report.len() != lines {
            return Err(DescriptionError::Field { field: "data_report" });
        }
        let tensors: Vec<TensorSpec> =
            message.tensors.into_iter().map(tensor_from).collect::<Result<_, _>>()?;
        Ok(Self {
            layout: Layout::new(tensors)?,
            train_samples: message.train_samples,
            test_samples: message.test_samples,
            further_tests: FurtherTests {
                validation: message.validation_samples,
                clean: message.clean_samples,
                memorised: message.memorised_samples,
            },
            data_fingerprint: message
                .data_fingerprint
                .as_ref()
                .try_into()
                .map(Digest)
                .map_err(|_| DescriptionError::Field { field: "data_fingerprint" })?,
            class_names,
            data_report,
        })
    }
}

fn tensor_from(message: v1::TensorLayout) -> Result<TensorSpec, DescriptionError> {
    let kind = match message.kind() {
        v1::TensorKind::Parameter => TensorKind::Parameter,
        v1::TensorKind::Statistic => TensorKind::RunningStatistic,
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
