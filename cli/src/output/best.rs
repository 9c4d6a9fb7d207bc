//! Which evaluation of a run counts: the last one, the best one, or the one that validation chooses.
//!
//! The best test accuracy over a run is chosen by the test split itself and is therefore too high, most of all with wrong
//! labels. What validation chooses is not; the three stand side by side.

use lookbehind_proto::json::TestJson;
use lookbehind_proto::v1;
use serde::{Deserialize, Serialize};

/// A result of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// Number of outer steps completed before the evaluation.
    pub outer_step: u64,
    /// Loss and accuracy.
    #[serde(flatten)]
    pub metrics: TestJson,
}

/// The evaluation that validation chooses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selected {
    /// Number of outer steps completed before the evaluation.
    pub outer_step: u64,
    /// Loss and accuracy on the samples of `data.validation`, by which it is chosen.
    pub validation: TestJson,
    /// Loss and accuracy on the test split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<TestJson>,
}

/// The evaluations of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluations {
    /// The newest result on the test split.
    pub test: Option<TestResult>,
    /// The first of those with the highest accuracy on the test split.
    pub best: Option<TestResult>,
    /// The one with the highest accuracy in validation; of equal ones that with the lowest loss there, then the first.
    pub selected: Option<Selected>,
    /// The newest result in validation.
    pub validation: Option<TestResult>,
    /// The newest result on the training split against the labels before `data.label_noise`.
    pub clean: Option<TestResult>,
    /// The newest result on the training samples with wrong labels, against these labels.
    pub memorised: Option<TestResult>,
}

impl Evaluations {
    /// Adds an outer step.
    pub fn step(&mut self, step: &v1::OuterStepMetrics) {
        let outer_step = step.outer_step;
        let result = |test: &v1::TestMetrics| TestResult { outer_step, metrics: TestJson::from(test) };
        let newest = |of: &Option<v1::TestMetrics>, before| of.as_ref().map(result).or(before);
        self.test = newest(&step.test, self.test);
        self.validation = newest(&step.validation, self.validation);
        self.clean = newest(&step.clean, self.clean);
        self.memorised = newest(&step.memorised, self.memorised);
        if let Some(test) = step.test.as_ref().map(result)
            && self.best.is_none_or(|best| test.metrics.accuracy > best.metrics.accuracy)
        {
            self.best = Some(test);
        }
        if let Some(validation) = step.validation.as_ref().map(TestJson::from)
            && self.selected.is_none_or(|selected| is_better(&validation, &selected.validation))
        {
            self.selected =
                Some(Selected { outer_step, validation, test: step.test.as_ref().map(TestJson::from) });
        }
    }
}

fn is_better(new: &TestJson, old: &TestJson) -> bool {
    new.accuracy > old.accuracy || (new.accuracy == old.accuracy && new.loss < old.loss)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(outer_step: u64, test: f64, validation: Option<(f64, f64)>) -> v1::OuterStepMetrics {
        let metrics = |accuracy, loss| v1::TestMetrics { loss, accuracy, samples: 8 };
        v1::OuterStepMetrics {
            outer_step,
            test: Some(metrics(test, 1.0)),
            validation: validation.map(|(accuracy, loss)| metrics(accuracy, loss)),
            ..v1::OuterStepMetrics::default()
        }
    }

    fn of(steps: &[v1::OuterStepMetrics]) -> Evaluations {
        let mut evaluations = Evaluations::default();
        steps.iter().for_each(|step| evaluations.step(step));
        evaluations
    }

    #[test]
    fn the_best_is_the_first_of_the_highest_and_the_last_is_the_last() {
        let found = of(&[step(1, 0.5, None), step(2, 0.9, None), step(3, 0.9, None), step(4, 0.7, None)]);
        assert_eq!(found.best.map(|best| best.outer_step), Some(2));
        assert_eq!(found.test.map(|test| test.outer_step), Some(4));
        assert_eq!(found.selected, None);
    }

    #[test]
    fn validation_chooses_and_the_test_split_does_not() {
        let found = of(&[
            step(1, 0.9, Some((0.6, 0.2))),
            step(2, 0.7, Some((0.8, 0.5))),
            step(3, 0.6, Some((0.8, 0.4))),
            step(4, 0.8, Some((0.8, 0.4))),
        ]);
        let selected = found.selected.unwrap();
        assert_eq!((selected.outer_step, selected.test.unwrap().accuracy), (3, 0.6));
        assert_eq!(found.validation.unwrap().outer_step, 4);
    }

    #[test]
    fn steps_without_a_test_change_nothing() {
        let before = of(&[step(1, 0.5, Some((0.5, 1.0)))]);
        let mut after = before;
        after.step(&v1::OuterStepMetrics { outer_step: 2, ..v1::OuterStepMetrics::default() });
        assert_eq!(after, before);
    }
}
