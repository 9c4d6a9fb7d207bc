//! What was read of a user's data, and what was not: classes with their names and samples, what was left out and why, what
//! was converted. Nothing of that happens in silence.

mod finding;

use std::fmt::Write as _;

use super::{DataDescription, Split};

pub(crate) use finding::Findings;
pub use finding::{Change, Finding, Reason};

/// Most classes that the text of a report lists.
const SHOWN: usize = 20;
/// Most runs of classes without samples that it lists.
const RUNS: usize = 8;

/// What a data set knows of itself in addition to its samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// Names of the classes in their order; empty where classes are numbers.
    pub(crate) class_names: Vec<String>,
    pub(crate) findings: Vec<Finding>,
}

/// What was read of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataReport {
    /// Sizes of the data set.
    pub description: DataDescription,
    /// Names of the classes, in the order of a model's outputs; empty where classes are numbers.
    pub class_names: Vec<String>,
    /// Samples of each class in the training and in the test split; empty where they were not counted.
    pub samples: Vec<[u64; 2]>,
    /// What was left out or converted, each kind once with its number.
    pub findings: Vec<Finding>,
}

impl DataReport {
    /// A report of a data set of which nothing else is known.
    pub fn of(description: &DataDescription) -> Self {
        let description = description.clone();
        Self { description, class_names: Vec::new(), samples: Vec::new(), findings: Vec::new() }
    }

    /// The name of a class, or its number.
    pub fn name(&self, class: usize) -> String {
        self.class_names.get(class).map_or_else(|| class.to_string(), |name| format!("{name:?}"))
    }

    /// Classes that have no sample in a split.
    pub fn classes_without_samples(&self, split: Split) -> Vec<usize> {
        let place = if split == Split::Train { 0 } else { 1 };
        let empty = self.samples.iter().enumerate().filter(|(_, samples)| samples[place] == 0);
        empty.map(|(class, _)| class).collect()
    }

    /// The report for people, in lines.
    pub fn lines(&self) -> Vec<String> {
        let DataDescription { train_samples, test_samples, input_shape, classes, .. } = &self.description;
        let mut lines = vec![format!(
            "{train_samples} training and {test_samples} test samples of shape {input_shape:?} in {classes} classes"
        )];
        lines.extend(self.list_of_classes());
        lines.extend(self.empty_classes(Split::Train));
        if *test_samples > 0 {
            lines.extend(self.empty_classes(Split::Test));
        }
        if *classes == 1 {
            lines.push("there is one class only: a model has nothing to learn".to_owned());
        }
        lines.extend(self.findings.iter().map(ToString::to_string));
        lines
    }

    fn list_of_classes(&self) -> Option<String> {
        let counted = |class: usize| match self.samples.get(class) {
            Some([train, test]) => format!("{class} {} ({train} + {test})", self.name(class)),
            None => format!("{class} {}", self.name(class)),
        };
        let named = self.class_names.len();
        let mut listed: Vec<String> = (0..named.min(SHOWN)).map(counted).collect();
        if named > SHOWN {
            listed.push(format!("and {} more", named - SHOWN));
        }
        (named > 0).then(|| format!("classes, with training + test samples: {}", listed.join(", ")))
    }

    fn empty_classes(&self, split: Split) -> Option<String> {
        let empty = self.classes_without_samples(split);
        let (number, classes) = (empty.len(), self.description.classes);
        let verb = if number == 1 { "has" } else { "have" };
        (number > 0)
            .then(|| format!("{number} of {classes} classes {verb} no {split} sample: {}", self.runs(&empty)))
    }

    /// Lists classes, those that follow each other as one run.
    fn runs(&self, classes: &[usize]) -> String {
        let mut text = String::new();
        for (place, run) in classes.chunk_by(|one, next| one + 1 == *next).enumerate() {
            if place == RUNS {
                text.push_str(", …");
                break;
            }
            let comma = if place == 0 { "" } else { ", " };
            // Writing to a string cannot fail.
            let _infallible = match run {
                [one] => write!(text, "{comma}{}", self.name(*one)),
                [first, .., last] => write!(text, "{comma}{} to {}", self.name(*first), self.name(*last)),
                [] => Ok(()),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests;
