//! The newest results of a job, which stay with its record when it has ended.

use lookbehind_common::job::Criterion;
use lookbehind_common::selection::Best;
use lookbehind_proto::v1;
use serde::{Deserialize, Serialize};

/// Results of a job so far. All numbers are finite: others have no form in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The outer step of loss and accuracy.
    pub outer_step: u64,
    /// Mean loss of its first batch at the slow weights, in nats.
    pub loss: f64,
    /// Fraction of that batch that was classified correctly.
    pub accuracy: f64,
    /// The newest evaluation; `None` if there was none.
    pub test: Option<TestResults>,
    /// The evaluation whose checkpoint is kept as the best one; `None` if none is.
    #[serde(default)]
    pub best: Option<BestResult>,
}

/// The best evaluation, by `checkpoint.keep_best`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestResult {
    /// What evaluations are compared by.
    pub criterion: Criterion,
    /// Where it was, and its value.
    #[serde(flatten)]
    pub evaluation: Best,
}

/// Results of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestResults {
    /// The outer step after which it was.
    pub outer_step: u64,
    /// Mean loss over the test split, in nats.
    pub loss: f64,
    /// Fraction of the test split that was classified correctly.
    pub accuracy: f64,
    /// Number of samples in the test split.
    pub samples: u64,
}

impl Results {
    /// The results after a further outer step, and the best evaluation then. What is not finite in the step leaves the
    /// results as they were.
    pub(super) fn after(
        earlier: Option<Self>,
        step: &v1::OuterStepMetrics,
        best: Option<BestResult>,
    ) -> Option<Self> {
        let v1::OuterStepMetrics { outer_step, loss, accuracy, .. } = *step;
        if !loss.is_finite() || !accuracy.is_finite() {
            return earlier;
        }
        let new = step.test.filter(|test| test.loss.is_finite() && test.accuracy.is_finite());
        let test = new.map(|v1::TestMetrics { loss, accuracy, samples }| TestResults {
            outer_step,
            loss,
            accuracy,
            samples,
        });
        let test = test.or(earlier.and_then(|earlier| earlier.test));
        Some(Self { outer_step, loss, accuracy, test, best })
    }

    /// The results that are left when a job goes on after `outer_step`: none of a later one, which is computed again.
    pub(super) fn up_to(self, outer_step: u64) -> Option<Self> {
        (self.outer_step <= outer_step).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(outer_step: u64, loss: f64, test: Option<f64>) -> v1::OuterStepMetrics {
        let test = test.map(|loss| v1::TestMetrics { loss, accuracy: 0.5, samples: 7 });
        v1::OuterStepMetrics { outer_step, loss, accuracy: 0.25, test, ..Default::default() }
    }

    #[test]
    fn the_newest_test_stays_until_there_is_another() {
        let first = Results::after(None, &step(1, 2.0, Some(3.0)), None);
        let second = Results::after(first, &step(2, 1.0, None), None).unwrap();
        assert_eq!((second.outer_step, second.loss), (2, 1.0));
        assert_eq!(second.test.map(|test| (test.outer_step, test.loss, test.samples)), Some((1, 3.0, 7)));
        assert_eq!(second.up_to(1), None, "a step that is computed again has no results yet");
        assert_eq!(second.up_to(2), Some(second));
    }

    #[test]
    fn what_is_not_finite_is_never_stored() {
        let first = Results::after(None, &step(1, 2.0, None), None);
        assert_eq!(Results::after(first, &step(2, f64::NAN, None), None), first);
        let after = Results::after(first, &step(2, 1.0, Some(f64::INFINITY)), None).unwrap();
        assert_eq!(after.test, None);
        let stored = serde_json::to_string(&after).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&stored).unwrap(), after);
    }
}
