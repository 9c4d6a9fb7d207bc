//! The study file: a base job, variants of it, seeds, and what is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lookbehind_common::evaluate::Request;
use lookbehind_common::job::JobError;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::error::CliError;

/// Most runs of a study that does not say otherwise.
const MAX_RUNS: u64 = 500;
/// Letters of a variant's name beside letters and digits: those that a job's name may have.
const SIGNS: &str = " -_.=,:+";

/// A study as its user wrote it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyFile {
    /// Name of the study; it begins the names of its jobs.
    pub name: String,
    /// The base job, as a file beside the study file. Exactly one of this and `job` is given.
    pub base: Option<PathBuf>,
    /// The base job itself, without name, seed and length.
    pub job: Option<Table>,
    /// Seeds with which each variant is trained and tested.
    pub seeds: Vec<u64>,
    /// Length of each run; absent means that of the base job.
    pub budget: Option<Budget>,
    /// The variant that the others are compared with, seed by seed.
    pub baseline: String,
    /// Which test accuracy is compared.
    #[serde(default)]
    pub metric: Metric,
    /// How grids are searched; needed if there are any.
    pub selection: Option<Selection>,
    /// What is evaluated of each model that is compared, after training.
    pub evaluate: Option<Request>,
    /// Most runs that the study may have.
    #[serde(default = "max_runs")]
    pub max_runs: u64,
    /// What is compared.
    pub variants: Vec<Variant>,
}

/// Length of each run: exactly one of the keys.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Passes over the training split.
    pub epochs: Option<u64>,
    /// Outer steps.
    pub steps: Option<u64>,
    /// Gradients of whole batches: as many outer steps as they suffice for.
    pub gradients: Option<u64>,
}

/// Which evaluation of a run counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The last one.
    #[default]
    Last,
    /// The one with the highest test accuracy, which the test split itself chooses.
    Best,
    /// The one that validation chooses.
    Selected,
}

/// How grids are searched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Seeds of the trials. None of them is a seed of the study.
    pub seeds: Vec<u64>,
}

/// One method or setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Name in tables.
    pub name: String,
    /// Keys of the job with their values, in sections or as paths with dots.
    #[serde(default)]
    pub set: Table,
    /// Keys of the base job that are removed.
    #[serde(default)]
    pub unset: Vec<String>,
    /// Paths of keys, each with the values to try.
    #[serde(default)]
    pub grid: BTreeMap<String, Vec<Value>>,
}

fn max_runs() -> u64 {
    MAX_RUNS
}

impl StudyFile {
    /// Reads and checks a study file, without its jobs.
    ///
    /// # Errors
    /// If it cannot be read or a key is wrong, with the path of the key.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let text = std::fs::read_to_string(path).map_err(|error| CliError::read(path, error))?;
        Self::parse(&text).map_err(|source| CliError::Job { label: path.display().to_string(), source })
    }

    /// Parses and checks the text of a study file.
    ///
    /// # Errors
    /// If a key is wrong, with its path.
    pub fn parse(text: &str) -> Result<Self, JobError> {
        let file: Self = toml::from_str(text)
            .map_err(|error| JobError::new("study file", error.to_string().trim_end()))?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), JobError> {
        let refuse = |path: &str, problem: &str| Err(JobError::new(path, problem));
        text("name", &self.name)?;
        if self.base.is_some() && self.job.is_some() {
            return refuse("base", "give either base, the path of a job file, or the section job, not both");
        }
        distinct("seeds", &self.seeds)?;
        if let Some(Budget { epochs, steps, gradients }) = self.budget {
            let given: Vec<u64> = [epochs, steps, gradients].into_iter().flatten().collect();
            if given.len() != 1 || given.contains(&0) {
                return refuse("budget", "expected one of epochs, steps and gradients, above 0");
            }
        }
        if let Some(request) = &self.evaluate {
            // Before any data are loaded; classes and running statistics are asked for again when they are known.
            request.check(usize::MAX, true).map_err(|error| JobError::new("evaluate", &error.to_string()))?;
        }
        if self.variants.is_empty() {
            return refuse("variants", "expected at least one variant, found none");
        }
        let mut names = BTreeSet::new();
        for (place, variant) in self.variants.iter().enumerate() {
            text(&format!("variants[{place}].name"), &variant.name)?;
            if !names.insert(&variant.name) {
                return refuse(
                    &format!("variants[{place}].name"),
                    &format!("{:?} is there twice", variant.name),
                );
            }
            if let Some((key, _)) = variant.grid.iter().find(|(_, values)| values.is_empty()) {
                return refuse(
                    &format!("variants[{place}].grid.{key}"),
                    "expected at least one value, found none",
                );
            }
        }
        if !names.contains(&self.baseline) {
            let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
            let problem = format!("expected one of {}, found {:?}", names.join(", "), self.baseline);
            return refuse("baseline", &problem);
        }
        self.check_grids()
    }

    /// Grids are compared fairly only if all have equally many points and are searched on other seeds.
    fn check_grids(&self) -> Result<(), JobError> {
        let searched: Vec<&Variant> = self.variants.iter().filter(|variant| variant.points() > 1).collect();
        let Some(first) = searched.first() else { return Ok(()) };
        let Some(selection) = &self.selection else {
            let problem = format!("needs seeds for the trials of {:?}, which has a grid", first.name);
            return Err(JobError::new("selection", &problem));
        };
        distinct("selection.seeds", &selection.seeds)?;
        if let Some(seed) = selection.seeds.iter().find(|seed| self.seeds.contains(seed)) {
            let problem = format!("seed {seed} is also one of the study's: trials need seeds of their own");
            return Err(JobError::new("selection.seeds", &problem));
        }
        match searched.iter().find(|variant| variant.points() != first.points()) {
            None => Ok(()),
            Some(other) => {
                let problem = format!(
                    "grids need equal numbers of trials: {:?} has {}, {:?} has {}",
                    first.name,
                    first.points(),
                    other.name,
                    other.points()
                );
                Err(JobError::new("variants", &problem))
            }
        }
    }
}

impl Variant {
    /// Number of points of its grid; 1 without one.
    pub fn points(&self) -> u64 {
        self.grid.values().map(|values| values.len() as u64).fold(1, u64::saturating_mul)
    }

    /// The values of a point of the grid by the paths of their keys.
    pub fn point(&self, number: u64) -> BTreeMap<String, Value> {
        let mut left = number;
        let mut value = |values: &Vec<Value>| {
            let count = values.len() as u64;
            let value = values[(left % count) as usize].clone();
            left /= count;
            value
        };
        self.grid.iter().map(|(key, values)| (key.clone(), value(values))).collect()
    }

    /// The values of `set` by the paths of their keys.
    pub fn settings(&self) -> Vec<(String, Value)> {
        let mut settings = Vec::new();
        collect("", &self.set, &mut settings);
        settings
    }
}

fn collect(path: &str, table: &Table, settings: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Table(inner) => collect(&path, inner, settings),
            value => settings.push((path, value.clone())),
        }
    }
}

fn text(path: &str, value: &str) -> Result<(), JobError> {
    let plain = |letter: char| letter.is_alphanumeric() || SIGNS.contains(letter);
    if value.trim().is_empty() || value.len() > 48 || !value.chars().all(plain) {
        let problem = format!("expected 1 to 48 bytes of letters, digits and {SIGNS:?}, found {value:?}");
        return Err(JobError::new(path, &problem));
    }
    Ok(())
}

fn distinct(path: &str, seeds: &[u64]) -> Result<(), JobError> {
    let set: BTreeSet<u64> = seeds.iter().copied().collect();
    if seeds.is_empty() || set.len() != seeds.len() {
        return Err(JobError::new(path, "expected at least one seed, and each once"));
    }
    Ok(())
}
