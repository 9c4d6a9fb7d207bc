//! Which evaluation of a job is the best one, and when training ends because no better one comes.
//!
//! Both are functions of the job alone, as the evaluations are. What is known is written into every checkpoint, so that a
//! job that goes on from one chooses as if it had never stopped.

use serde::{Deserialize, Serialize};

use crate::job::JobSpec;
use crate::partial::Sums;
use crate::test_set::TestSet;

/// A number by which evaluations are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// Mean loss on the test split; the lowest is the best.
    TestLoss,
    /// Accuracy on the test split; the highest is the best.
    TestAccuracy,
    /// Mean loss on the samples of `data.validation`.
    ValidationLoss,
    /// Accuracy on the samples of `data.validation`.
    ValidationAccuracy,
}

impl Criterion {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::TestLoss, Self::TestAccuracy, Self::ValidationLoss, Self::ValidationAccuracy];

    /// Its name in job files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TestLoss => "test_loss",
            Self::TestAccuracy => "test_accuracy",
            Self::ValidationLoss => "validation_loss",
            Self::ValidationAccuracy => "validation_accuracy",
        }
    }

    /// The criterion of this name; `None` if there is none.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|criterion| criterion.as_str() == name)
    }

    /// The samples that it is measured on.
    pub fn set(self) -> TestSet {
        match self {
            Self::TestLoss | Self::TestAccuracy => TestSet::Test,
            Self::ValidationLoss | Self::ValidationAccuracy => TestSet::Validation,
        }
    }

    /// Its value in the results of an evaluation of [these samples](Self::set).
    pub fn value(self, sums: &Sums) -> f64 {
        match self {
            Self::TestLoss | Self::ValidationLoss => sums.mean_loss(),
            Self::TestAccuracy | Self::ValidationAccuracy => sums.accuracy(),
        }
    }

    /// By how much a value is better than another one; NaN if either is.
    fn gain(self, new: f64, old: f64) -> f64 {
        match self {
            Self::TestLoss | Self::ValidationLoss => old - new,
            Self::TestAccuracy | Self::ValidationAccuracy => new - old,
        }
    }
}

/// When training ends before its length is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyStopping {
    /// By what evaluations are compared.
    pub criterion: Criterion,
    /// Training ends after so many evaluations in a row that were no better; at least 1.
    pub patience: u64,
    /// An evaluation is better if it is by more than this; at least 0.
    pub min_delta: f64,
}

/// What a job compares its evaluations for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Criteria {
    /// By what the best evaluation is chosen, whose checkpoint is kept.
    pub keep_best: Option<Criterion>,
    /// When training ends before its length is reached.
    pub early_stopping: Option<EarlyStopping>,
}

impl Criteria {
    /// Those of a job.
    pub fn of(spec: &JobSpec) -> Self {
        Self { keep_best: spec.checkpoint.keep_best, early_stopping: spec.early_stopping }
    }
}

/// The best evaluation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Outer steps done at the evaluation.
    pub outer_step: u64,
    /// What it is compared by; finite.
    pub value: f64,
}

/// The evaluations so far, as far as one criterion sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Followed {
    /// The first of the best ones; `None` before any was finite.
    best: Option<Best>,
    /// Evaluations since.
    since: u64,
}

impl Followed {
    /// Adds an evaluation. Returns whether it is the best one now.
    fn note(&mut self, criterion: Criterion, min_delta: f64, new: Best) -> bool {
        let is_better = new.value.is_finite()
            && self.best.is_none_or(|best| criterion.gain(new.value, best.value) > min_delta);
        if is_better {
            *self = Self { best: Some(new), since: 0 };
        } else {
            self.since += 1;
        }
        is_better
    }
}

/// What is known of a job's evaluations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// For `checkpoint.keep_best`.
    kept: Followed,
    /// For `early_stopping`.
    stopping: Followed,
}

impl Selection {
    /// Adds an evaluation after `outer_step` outer steps, whose results on each set of samples `sums` gives; without results
    /// for a criterion, nothing changes for it. Returns whether its checkpoint is the one to keep.
    pub fn note(
        &mut self,
        criteria: &Criteria,
        outer_step: u64,
        sums: impl Fn(TestSet) -> Option<Sums>,
    ) -> bool {
        let of =
            |criterion: Criterion| Some(Best { outer_step, value: criterion.value(&sums(criterion.set())?) });
        if let Some(EarlyStopping { criterion, min_delta, .. }) = criteria.early_stopping
            && let Some(new) = of(criterion)
        {
            self.stopping.note(criterion, min_delta, new);
        }
        let kept = criteria.keep_best.and_then(|criterion| Some((criterion, of(criterion)?)));
        kept.is_some_and(|(criterion, new)| self.kept.note(criterion, 0.0, new))
    }

    /// The evaluation whose checkpoint is kept; `None` if none is.
    pub fn best(&self) -> Option<Best> {
        self.kept.best
    }

    /// Why training ends now, if it does.
    pub fn stops(&self, criteria: &Criteria) -> Option<String> {
        let EarlyStopping { criterion, patience, .. } = criteria.early_stopping?;
        let name = criterion.as_str();
        (self.stopping.since >= patience).then(|| match self.stopping.best {
            Some(Best { outer_step, value }) => format!(
                "early_stopping: {name} has not become better than {value:.6}, of outer step {outer_step}, in {patience} \
                 evaluations"
            ),
            None => format!("early_stopping: {name} has not been finite in {patience} evaluations"),
        })
    }
}

#[cfg(test)]
mod tests;
