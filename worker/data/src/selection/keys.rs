//! The keys of `[data]` that choose what of a data set is used.

use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::noise::LabelNoise;

/// The keys that belong to no kind. `classes` is one of them where it is a list; as a number it belongs to the kind.
pub(crate) const KEYS: [&str; 4] = ["resplit", "limit", "validation", "label_noise"];
/// The key that a list of classes has.
const CLASSES: &str = "classes";

/// What of a data set is used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Keys {
    /// Classes that are used, in the order of their new numbers; `None` means all.
    pub(super) classes: Option<Vec<u32>>,
    /// Samples of a new test split, drawn from all samples.
    pub(super) resplit: Option<u64>,
    /// Training samples that are used, those for validation included.
    pub(super) limit: Option<u64>,
    /// Training samples that are kept for validation: a number, or a share below 1.
    pub(super) validation: Option<f64>,
    /// Wrong labels in the training split.
    pub(super) label_noise: Option<LabelNoise>,
}

impl Keys {
    /// Separates these keys from the others of `[data]`.
    ///
    /// # Errors
    /// If a value is wrong, whatever the data are.
    pub(crate) fn take(parameters: &Parameters) -> Result<(Self, Parameters), JobError> {
        let mut rest = parameters.clone();
        let mut own: Parameters = KEYS.iter().filter_map(|&key| rest.remove_entry(key)).collect();
        if rest.get(CLASSES).is_some_and(serde_json::Value::is_array) {
            own.extend(rest.remove_entry(CLASSES));
        }
        let keys: Self = parse_parameters("data", &own)?;
        keys.check()?;
        Ok((keys, rest))
    }

    /// Whether the data set is used as it is.
    pub(crate) fn choose_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the job's seed decides which samples are used.
    pub(crate) fn draw(&self) -> bool {
        let Self { classes: _, resplit, limit, validation, label_noise } = self;
        resplit.is_some() || limit.is_some() || validation.is_some() || label_noise.is_some()
    }

    /// Number of classes that are used of `classes`.
    ///
    /// # Errors
    /// If one that is to be used does not exist.
    pub(crate) fn number_of_classes(&self, classes: usize) -> Result<usize, JobError> {
        self.check_classes(classes)?;
        Ok(self.classes.as_ref().map_or(classes, Vec::len))
    }

    pub(super) fn check_classes(&self, classes: usize) -> Result<(), JobError> {
        let mut wanted = self.classes.iter().flatten();
        match wanted.find(|&&class| class as usize >= classes) {
            None => Ok(()),
            Some(class) => Err(JobError::new(
                "data.classes",
                &format!("expected classes below {classes}, found {class}"),
            )),
        }
    }

    fn check(&self) -> Result<(), JobError> {
        if let Some(classes) = &self.classes {
            if classes.is_empty() {
                return Err(JobError::new("data.classes", "expected at least one class, found none"));
            }
            let mut sorted = classes.clone();
            sorted.sort_unstable();
            if let Some([class, _]) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(JobError::new(
                    "data.classes",
                    &format!("expected each class once, found {class} twice"),
                ));
            }
        }
        if let Some(validation) = self.validation {
            let is_share = validation > 0.0 && validation < 1.0;
            let is_count = validation >= 1.0 && validation.fract() == 0.0;
            if !is_share && !is_count {
                let problem =
                    format!("expected a number of samples or a share between 0 and 1, found {validation}");
                return Err(JobError::new("data.validation", &problem));
            }
        }
        for (key, value) in [("data.resplit", self.resplit), ("data.limit", self.limit)] {
            if value == Some(0) {
                return Err(JobError::new(key, "expected at least 1 sample, found 0"));
            }
        }
        self.label_noise.as_ref().map_or(Ok(()), LabelNoise::check)
    }
}
