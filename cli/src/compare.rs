//! Runs side by side: what differs in their jobs, and their results.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lookbehind_common::job::{JobFile, parse_toml};
use lookbehind_proto::json::{StepJson, TestJson};
use lookbehind_proto::v1;
use serde::Serialize;
use serde_json::Value;

use crate::changes::keys;
use crate::chart::{Curve, Point, curves};
use crate::error::CliError;
use crate::output::best::{Evaluations, Selected, TestResult};

/// Keys that say what a run is called, not what it computes.
const NAMES: [&str; 2] = ["name", "labels."];

/// A run.
#[derive(Clone, Debug)]
pub struct Side {
    /// Identity or folder.
    pub name: String,
    /// All keys of its job by their path.
    keys: BTreeMap<String, Value>,
    /// Outer steps done.
    pub outer_steps: u64,
    /// Gradients computed.
    pub gradients: u64,
    /// Seconds in outer steps.
    pub seconds: f64,
    /// Digest of its newest weights.
    pub digest: String,
    /// Its evaluations.
    pub evaluations: Evaluations,
    /// Test accuracy over gradients, in percent.
    curve: Vec<Point>,
}

/// A run in JSON.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedRun {
    /// Identity or folder.
    pub run: String,
    /// The keys that differ between the runs, with this one's values; absent keys are omitted.
    pub differs: BTreeMap<String, Value>,
    /// Outer steps done.
    pub outer_steps: u64,
    /// Gradients computed.
    pub gradients: u64,
    /// Seconds in outer steps.
    pub seconds: f64,
    /// Digest of its newest weights.
    pub digest: String,
    /// The last result on the test split.
    pub last: Option<TestResult>,
    /// The best result on the test split.
    pub best: Option<TestResult>,
    /// What validation chooses.
    pub selected: Option<Selected>,
}

impl ComparedRun {
    /// Of a run, with the keys that differ.
    pub fn new(side: &Side, differing: &[String]) -> Self {
        let differs = differing.iter().filter_map(|key| Some((key.clone(), side.keys.get(key)?.clone())));
        let Evaluations { test, best, selected, .. } = side.evaluations;
        Self {
            run: side.name.clone(),
            differs: differs.collect(),
            outer_steps: side.outer_steps,
            gradients: side.gradients,
            seconds: side.seconds,
            digest: side.digest.clone(),
            last: test,
            best,
            selected,
        }
    }
}

impl Side {
    /// A run without outer steps.
    pub fn new(name: &str, file: &JobFile) -> Self {
        Self {
            name: name.to_owned(),
            keys: keys(file),
            outer_steps: 0,
            gradients: 0,
            seconds: 0.0,
            digest: String::new(),
            evaluations: Evaluations::default(),
            curve: Vec::new(),
        }
    }

    /// Adds an outer step.
    pub fn step(&mut self, step: &StepJson) {
        self.outer_steps = step.outer_step;
        self.gradients += u64::from(step.gradients);
        self.seconds += step.time.map_or(0.0, |time| time.total);
        self.digest.clone_from(&step.digest);
        let metrics = |test: &TestJson| v1::TestMetrics {
            loss: test.loss,
            accuracy: test.accuracy,
            samples: test.samples,
        };
        self.evaluations.step(&v1::OuterStepMetrics {
            outer_step: step.outer_step,
            test: step.test.as_ref().map(metrics),
            validation: step.validation.as_ref().map(metrics),
            clean: step.clean.as_ref().map(metrics),
            memorised: step.memorised.as_ref().map(metrics),
            ..v1::OuterStepMetrics::default()
        });
        if let Some(test) = &step.test {
            self.curve.push(Point::new(self.gradients as f64, 100.0 * test.accuracy));
        }
    }

    /// The value of a key of its job, for people.
    pub fn value(&self, key: &str) -> String {
        self.keys.get(key).map_or_else(|| "–".to_owned(), Value::to_string)
    }
}

/// The keys in which the jobs differ, without their names.
pub fn differing(sides: &[Side]) -> Vec<String> {
    let all: BTreeSet<&String> = sides.iter().flat_map(|side| side.keys.keys()).collect();
    let differs = |key: &&String| {
        let mut values = sides.iter().map(|side| side.keys.get(*key));
        let first = values.next();
        values.any(|value| Some(value) != first) && !NAMES.iter().any(|name| key.starts_with(name))
    };
    all.into_iter().filter(differs).cloned().collect()
}

/// Test accuracy of the runs over their gradients.
pub fn picture(sides: &[Side]) -> String {
    let of = |side: &Side| Curve { name: side.name.clone(), points: side.curve.clone() };
    curves("test accuracy", "gradients", "%", &sides.iter().map(of).collect::<Vec<_>>())
}

/// Reads the job file of an output folder.
///
/// # Errors
/// If it is not one.
pub fn job_file(path: &Path, text: &str) -> Result<JobFile, CliError> {
    parse_toml(text).map_err(|source| CliError::Job { label: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(name: &str, rho: &str) -> Side {
        let text = format!(
            "name = \"{name}\"\n[model]\nkind = \"mlp\"\n[data]\nkind = \"digits\"\n\
             [train]\nsteps = 1\nbatch_size = 128\n[optimizer]\n{rho}"
        );
        Side::new(name, &job_file(Path::new("job.toml"), &text).unwrap())
    }

    #[test]
    fn what_differs_is_listed_and_names_are_not() {
        let sides = [side("a", "rho = 0.1"), side("b", "rho = 0.2"), side("c", "")];
        assert_eq!(differing(&sides), ["optimizer.rho"]);
        assert_eq!(sides.map(|side| side.value("optimizer.rho")), ["0.1", "0.2", "–"]);
        assert!(differing(&[side("a", ""), side("b", "")]).is_empty());
    }

    #[test]
    fn the_picture_has_a_curve_for_each_run() {
        let mut one = side("a", "");
        one.curve = vec![Point::new(3.0, 50.0), Point::new(6.0, 75.0)];
        assert!(picture(&[one]).contains(">a</text>"));
    }
}
