//! The description of a job's model and data, which workers make when they load them.

use crate::digest::Digest;
use crate::layout::Layout;
use crate::test_set::{FurtherTests, TestSet};

/// A job's model and data as a worker found them. All workers of the job must find the same.
#[derive(Clone, Debug, PartialEq)]
pub struct JobDescription {
    /// All tensors of the model.
    pub layout: Layout,
    /// Samples in the training split.
    pub train_samples: u64,
    /// Samples in the test split; 0 if there is none.
    pub test_samples: u64,
    /// Samples of the tests in addition to the test split.
    pub further_tests: FurtherTests,
    /// BLAKE3 over everything that the content of a sample depends on.
    pub data_fingerprint: Digest,
    /// Names of the classes in the order of the model's outputs; empty where classes are numbers, or where their names
    /// are longer than [`MAX_CLASS_NAMES`].
    pub class_names: Vec<String>,
    /// What was read of the data, what of them was left out, and what was converted: lines for people. Workers with the
    /// same samples may have read them from different files, so nothing is compared with it.
    pub data_report: Vec<String>,
}

/// Most bytes that the names of all classes may have together. Longer ones are not passed on: a model file's header, which
/// they go into, is bounded as well.
pub const MAX_CLASS_NAMES: usize = 1 << 18;

/// Most bytes that the lines of a data report may have together, for the same reason. What follows is not passed on.
pub const MAX_DATA_REPORT: usize = 1 << 16;

impl JobDescription {
    /// The names of classes that are passed on: all of them, or none if they are longer than [`MAX_CLASS_NAMES`].
    pub fn names_within_limit(class_names: Vec<String>) -> Vec<String> {
        // An empty name takes memory as well.
        let bytes: usize = class_names.iter().map(|name| name.len().max(1)).sum();
        if bytes <= MAX_CLASS_NAMES { class_names } else { Vec::new() }
    }

    /// The first lines of a data report, as far as they are passed on.
    pub fn report_within_limit(mut lines: Vec<String>) -> Vec<String> {
        let mut bytes = 0;
        // An empty line takes memory as well.
        let fit = lines.iter().take_while(|line| {
            bytes += line.len().max(1);
            bytes <= MAX_DATA_REPORT
        });
        let fit = fit.count();
        lines.truncate(fit);
        lines
    }

    /// Number of samples of a test; 0 if there is no such test.
    pub fn samples_of(&self, set: TestSet) -> u64 {
        match set {
            TestSet::Test => self.test_samples,
            TestSet::Validation => self.further_tests.validation,
            TestSet::Clean => self.further_tests.clean,
            TestSet::Memorised => self.further_tests.memorised,
        }
    }

    /// The first difference between `self` and `other`, as text with both values; `None` if they are equal but for what
    /// people are told of the data.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self.train_samples != other.train_samples {
            return Some(format!("training samples: {} and {}", self.train_samples, other.train_samples));
        }
        let mut sets = TestSet::ALL.into_iter();
        if let Some(set) = sets.find(|&set| self.samples_of(set) != other.samples_of(set)) {
            let (ours, theirs) = (self.samples_of(set), other.samples_of(set));
            return Some(format!("{} samples: {ours} and {theirs}", set.name()));
        }
        if self.data_fingerprint != other.data_fingerprint {
            return Some(format!(
                "data fingerprint: {} and {}",
                self.data_fingerprint, other.data_fingerprint
            ));
        }
        if self.class_names != other.class_names {
            return Some(self.other_names(other));
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

    /// The first name of a class in which the two differ.
    fn other_names(&self, other: &Self) -> String {
        let (ours, theirs) = (&self.class_names, &other.class_names);
        let pairs = ours.iter().zip(theirs).enumerate();
        match pairs.into_iter().find(|(_, (a, b))| a != b) {
            Some((class, (a, b))) => format!("name of class {class}: {a:?} and {b:?}"),
            None => format!("number of names of classes: {} and {}", ours.len(), theirs.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_of_a_long_data_report_are_passed_on() {
        let lines = ["short".to_owned(), "x".repeat(MAX_DATA_REPORT - 6), String::new(), String::new()];
        let passed_on = JobDescription::report_within_limit(lines.to_vec());
        assert_eq!(passed_on, lines[..3]);
        assert_eq!(JobDescription::report_within_limit(lines[..2].to_vec()), lines[..2]);
    }
}
