//! All runs of a study, as jobs that have been checked before the first one is trained.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lookbehind_common::digest::Digest;
use lookbehind_common::evaluate::Request;
use lookbehind_common::job::{JobError, JobFile, JobSpec, Labels, Length, Setting, apply_settings};
use lookbehind_common::optimizer::gradients_per_outer_step;
use lookbehind_common::text::counted;
use toml::{Table, Value};

use super::confounds::{ALPHA_K_LR, EFFECTIVE_RHO, resolve};
use super::file::{StudyFile, Variant};
use crate::error::CliError;
use crate::job::JobSource;

/// What a study trains.
pub struct Plan {
    /// The study as its user wrote it.
    pub file: StudyFile,
    label: String,
    /// Text of the base job.
    base: String,
    /// Folder to which paths in the jobs refer.
    pub folder: PathBuf,
    /// Most workers of each job.
    max_workers: u32,
}

/// One job of a study.
#[derive(Clone, Debug)]
pub struct Run {
    /// Number of the variant.
    pub variant: usize,
    /// Number of the point in the variant's grid.
    pub point: u64,
    /// Whether it is a trial, from which a point is chosen.
    pub is_trial: bool,
    /// Seed of the job.
    pub seed: u64,
    /// The job.
    pub source: JobSource,
    /// Identity of everything that its result depends on.
    pub key: String,
}

impl Plan {
    /// Reads a study and checks all of its jobs.
    ///
    /// # Errors
    /// If a file cannot be read, a key is wrong, variants are equal, or there are too many runs.
    pub fn read(path: &Path, max_workers: u32) -> Result<Self, CliError> {
        let file = StudyFile::read(path)?;
        let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let label = path.display().to_string();
        let (base, folder) = match (&file.base, &file.job) {
            (Some(base), _) => {
                let base = beside.join(base);
                let text = std::fs::read_to_string(&base).map_err(|error| CliError::read(&base, error))?;
                (text, base.parent().unwrap_or(Path::new(".")).to_owned())
            }
            (None, Some(job)) => (inline(&label, job)?, beside.to_owned()),
            (None, None) => {
                let source =
                    JobError::new("job", "give either base, the path of a job file, or the section job");
                return Err(CliError::Job { label, source });
            }
        };
        let plan = Self { file, label, base, folder, max_workers };
        plan.check()?;
        Ok(plan)
    }

    fn wrong<T>(&self, path: &str, problem: &str) -> Result<T, CliError> {
        Err(CliError::Job { label: self.label.clone(), source: JobError::new(path, problem) })
    }

    /// Number of all runs.
    pub fn runs(&self) -> u64 {
        let seeds = self.file.seeds.len() as u64;
        let trials = self.file.selection.as_ref().map_or(0, |selection| selection.seeds.len() as u64);
        let of = |variant: &Variant| {
            let points = variant.points();
            seeds.saturating_add(if points > 1 { points.saturating_mul(trials) } else { 0 })
        };
        self.file.variants.iter().map(of).fold(0, u64::saturating_add)
    }

    fn check(&self) -> Result<(), CliError> {
        let (runs, most) = (self.runs(), self.file.max_runs);
        if runs > most {
            let first = self.run(0, 0, self.file.seeds[0], false)?;
            let each = match gradients(&first.source.spec) {
                Some(gradients) => {
                    format!("about {} gradients each, {} in all", gradients, gradients.saturating_mul(runs))
                }
                None => "of the base job's epochs each".to_owned(),
            };
            let problem =
                format!("the study has {runs} runs, {each}; at most {most} are allowed, see max_runs");
            return self.wrong("variants", &problem);
        }
        // The jobs of each variant. A point of a grid may be what another variant is without a search.
        let mut known: Vec<Vec<JobSpec>> = Vec::new();
        for (number, variant) in self.file.variants.iter().enumerate() {
            let mut jobs: Vec<JobSpec> = Vec::new();
            for point in 0..variant.points() {
                let run = self.run(number, point, self.file.seeds[0], false)?;
                let name = self.name_of(number, point);
                if variant.points() > 1 && !run.source.file().data.parameters.contains_key("validation") {
                    return self.wrong("job.data.validation", &format!("is needed: {name} is chosen by it"));
                }
                let spec = meaning(&run.source.spec);
                if let Some(other) = jobs.iter().position(|job| *job == spec) {
                    let other = self.name_of(number, other as u64);
                    return self.wrong("variants", &format!("{other} and {name} are the same job"));
                }
                jobs.push(spec);
            }
            let same = |other: &&Vec<JobSpec>| {
                other.len() == jobs.len() && jobs.iter().all(|job| other.contains(job))
            };
            if let Some(other) = known.iter().position(|other| same(&other)) {
                let other = &self.file.variants[other].name;
                return self.wrong("variants", &format!("{other} and {} are the same job", variant.name));
            }
            known.push(jobs);
        }
        Ok(())
    }

    /// A variant with the values of a point of its grid, for people.
    pub fn name_of(&self, variant: usize, point: u64) -> String {
        let variant = &self.file.variants[variant];
        let values = variant.point(point);
        match values.is_empty() {
            true => variant.name.clone(),
            false => format!("{} ({})", variant.name, shown(&values)),
        }
    }

    /// One run.
    ///
    /// # Errors
    /// If its job is not valid.
    pub fn run(&self, variant: usize, point: u64, seed: u64, is_trial: bool) -> Result<Run, CliError> {
        let of = &self.file.variants[variant];
        let label = format!("{}, variant {:?}", self.label, of.name);
        let wrong = |source| CliError::Job { label: label.clone(), source };
        let mut settings: Vec<Setting> = Vec::new();
        for key in &of.unset {
            settings.push(format!("{key}=").parse().map_err(wrong)?);
        }
        let (derived, set): (Vec<_>, Vec<_>) = of
            .settings()
            .into_iter()
            .chain(of.point(point))
            .partition(|(path, _)| path == EFFECTIVE_RHO || path == ALPHA_K_LR);
        settings.extend(set.into_iter().map(|(path, value)| Setting::new(&path, value)));
        let name = format!("{} {} seed {seed}", self.file.name, of.name);
        settings.push(Setting::new("name", name));
        let seed_value =
            i64::try_from(seed).map_err(|_| wrong(JobError::new("seeds", "a seed is too large")))?;
        settings.push(Setting::new("seed", seed_value));
        settings.push(Setting::new("labels.study", self.file.name.clone()));
        settings.push(Setting::new("labels.variant", of.name.clone()));
        settings.push(Setting::new("resources.max_workers", i64::from(self.max_workers)));
        settings.extend(self.length(None).map_err(wrong)?);
        let text = apply_settings(&self.base, &settings).map_err(wrong)?;
        let mut source = JobSource::parse(label.clone(), text, self.folder.clone(), None)?;
        if !derived.is_empty() {
            let method = source.spec.optimizer.method;
            let resolved = derived.iter().map(|(path, value)| {
                resolve(path, value, &method).ok_or_else(|| {
                    let problem =
                        format!("expected a number above 0 for a method that has it, found {value}");
                    wrong(JobError::new(path, &problem))
                })
            });
            let text =
                apply_settings(&source.text, &resolved.collect::<Result<Vec<_>, _>>()?).map_err(wrong)?;
            source = JobSource::parse(label.clone(), text, self.folder.clone(), None)?;
        }
        if let Some(gradients) = self.file.budget.and_then(|budget| budget.gradients) {
            let each = gradients_per_outer_step(&source.spec.optimizer.method);
            let length = self.length(Some(gradients / each)).map_err(wrong)?;
            let text = apply_settings(&source.text, &length).map_err(wrong)?;
            source = JobSource::parse(label, text, self.folder.clone(), None)?;
        }
        let key = key_of(source.file(), self.file.evaluate.as_ref().filter(|_| !is_trial));
        Ok(Run { variant, point, is_trial, seed, source, key })
    }

    /// The keys of a run's length. With a budget of gradients, the number of outer steps is known only when the method is.
    fn length(&self, outer_steps: Option<u64>) -> Result<Vec<Setting>, JobError> {
        let Some(budget) = self.file.budget else { return Ok(Vec::new()) };
        let (key, other, value) = match (budget.epochs, budget.steps, outer_steps) {
            (Some(epochs), ..) => ("train.epochs", "train.steps", epochs),
            (_, Some(steps), _) => ("train.steps", "train.epochs", steps),
            (_, _, Some(0)) => {
                return Err(JobError::new("budget.gradients", "is less than one outer step takes"));
            }
            (_, _, outer_steps) => ("train.steps", "train.epochs", outer_steps.unwrap_or(1 << 20)),
        };
        let value = i64::try_from(value).map_err(|_| JobError::new("budget", "is too large"))?;
        Ok(vec![format!("{other}=").parse()?, Setting::new(key, value)])
    }

    /// The trials, from which the points of the grids are chosen.
    ///
    /// # Errors
    /// If a job is not valid.
    pub fn trials(&self) -> Result<Vec<Run>, CliError> {
        let seeds = self.file.selection.as_ref().map_or(&[][..], |selection| &selection.seeds);
        let mut runs = Vec::new();
        for (variant, of) in self.file.variants.iter().enumerate().filter(|(_, variant)| variant.points() > 1)
        {
            for point in 0..of.points() {
                for &seed in seeds {
                    runs.push(self.run(variant, point, seed, true)?);
                }
            }
        }
        Ok(runs)
    }

    /// The runs that are compared, where `points` are the chosen ones of each variant. The variants take turns, so that an
    /// interrupted study has whole pairs.
    ///
    /// # Errors
    /// If a job is not valid.
    pub fn comparisons(&self, points: &[u64]) -> Result<Vec<Run>, CliError> {
        let mut runs = Vec::new();
        for &seed in &self.file.seeds {
            for (variant, &point) in points.iter().enumerate() {
                runs.push(self.run(variant, point, seed, false)?);
            }
        }
        Ok(runs)
    }
}

/// The text of a base job that stands in the study file itself.
fn inline(label: &str, job: &Table) -> Result<String, CliError> {
    toml::to_string(job).map_err(|error| CliError::Job {
        label: label.to_owned(),
        source: JobError::new("job", &error.to_string()),
    })
}

/// Gradients of a run, if its job says so without its data.
pub fn gradients(spec: &JobSpec) -> Option<u64> {
    match spec.train.length {
        Length::Steps(steps) => Some(steps.saturating_mul(gradients_per_outer_step(&spec.optimizer.method))),
        Length::Epochs(_) => None,
    }
}

/// `key = value, …`.
pub fn shown(values: &BTreeMap<String, Value>) -> String {
    let short = |key: &String| key.rsplit('.').next().unwrap_or(key).to_owned();
    values.iter().map(|(key, value)| format!("{} = {value}", short(key))).collect::<Vec<_>>().join(", ")
}

/// `3 runs`.
pub fn runs(count: u64) -> String {
    counted(count, "run")
}

/// The job without what its result does not depend on.
fn meaning(spec: &JobSpec) -> JobSpec {
    JobSpec { name: String::new(), labels: Labels::new(), ..spec.clone() }
}

/// BLAKE3 over everything in a job that its result depends on, and what is evaluated of its model.
#[expect(clippy::expect_used, reason = "the keys of a job file are texts, and JSON has all of its values")]
fn key_of(file: &JobFile, evaluate: Option<&Request>) -> String {
    let file = JobFile {
        name: String::new(),
        labels: Labels::new(),
        resources: Default::default(),
        checkpoint: Default::default(),
        ..file.clone()
    };
    let mut text = serde_json::to_string(&file).expect("a job file is JSON");
    if let Some(request) = evaluate {
        text.push_str(&serde_json::to_string(request).expect("a request is JSON"));
    }
    Digest::of(text.as_bytes()).to_string()
}
