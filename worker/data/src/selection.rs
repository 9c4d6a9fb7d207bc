//! A data set of which a job uses a part: some classes, another division into splits, fewer samples, some kept for
//! validation, some with wrong labels. All choices are keyed by the job's seed.
//!
//! The order is: classes, new test split, limit, validation, label noise. Strata are the classes before noise.

mod draw;
mod keys;
mod noise;

use lookbehind_common::digest::Digest;
use lookbehind_common::job::JobError;
use lookbehind_common::test_set::{FurtherTests, TestSet};

use super::{Batch, DataDescription, DataError, DataReport, Dataset, Finding, SampleContext, Split, Target};

use self::draw::{Use, amount, divide};
pub(crate) use self::keys::KEYS;
pub(super) use self::keys::Keys;

/// A sample of the data set that is chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    /// Its split in that data set.
    split: Split,
    /// Its index in that split.
    index: u64,
    /// Its number in the whole data set: the training split comes first. Draws are keyed by it.
    number: u64,
    /// Its class, in the new numbers.
    class: u32,
    /// The class that training sees.
    given: u32,
}

/// What a job uses of a data set.
struct Selection {
    samples: Box<dyn Dataset>,
    description: DataDescription,
    train: Vec<Sample>,
    test: Vec<Sample>,
    validation: Vec<Sample>,
    /// Those of the training split whose label is wrong.
    wrong: Vec<Sample>,
    has_noise: bool,
    class_names: Vec<String>,
    findings: Vec<Finding>,
}

/// The part of `samples` that the keys choose; all of it without keys.
pub(super) fn select(
    samples: Box<dyn Dataset>,
    keys: &Keys,
    seed: u64,
) -> Result<Box<dyn Dataset>, DataError> {
    if keys.choose_nothing() {
        return Ok(samples);
    }
    Ok(Box::new(Selection::new(samples, keys, seed)?))
}

impl Selection {
    fn new(samples: Box<dyn Dataset>, keys: &Keys, seed: u64) -> Result<Self, DataError> {
        let report = samples.report();
        let whole = samples.description().clone();
        keys.check_classes(whole.classes)?;
        let mut train = chosen(samples.as_ref(), Split::Train, keys)?;
        let mut test = chosen(samples.as_ref(), Split::Test, keys)?;
        let mut findings = report.findings.clone();
        let mut note = |text: String| findings.push(Finding::Chosen(text));
        if let Some(classes) = &keys.classes {
            note(format!("{} of {} classes are used: data.classes", classes.len(), whole.classes));
        }
        if let Some(wanted) = keys.resplit {
            train.append(&mut test);
            let count = amount("data.resplit", wanted as f64, train.len())?;
            (test, train) = divide(train, count, seed, Use::Resplit);
            note(format!("the test split of {count} samples is drawn from all samples: data.resplit"));
        }
        if let Some(limit) = keys.limit {
            let count = amount("data.limit", limit as f64, train.len() + 1)?;
            let all = train.len();
            (train, _) = divide(train, count, seed, Use::Limit);
            note(format!("{count} of {all} training samples are used: data.limit"));
        }
        let mut validation = Vec::new();
        if let Some(wanted) = keys.validation {
            let count = amount("data.validation", wanted, train.len())?;
            (validation, train) = divide(train, count, seed, Use::Validation);
            note(format!(
                "{count} training samples are kept for validation, with clean labels: data.validation"
            ));
        }
        if train.is_empty() {
            let problem = "found 0 samples of the chosen classes, expected at least 1";
            return Err(JobError::new("data.classes", problem).into());
        }
        let classes = keys.classes.as_ref().map_or(whole.classes, Vec::len);
        if let Some(label_noise) = &keys.label_noise {
            label_noise.apply(&mut train, classes, seed)?;
        }
        let wrong: Vec<Sample> =
            train.iter().copied().filter(|sample| sample.given != sample.class).collect();
        if let Some(label_noise) = &keys.label_noise {
            let (wrong, all) = (wrong.len(), train.len());
            note(format!(
                "{wrong} of {all} training samples have a wrong label: data.label_noise, {label_noise}"
            ));
        }
        let description = DataDescription {
            train_samples: train.len() as u64,
            test_samples: test.len() as u64,
            input_shape: whole.input_shape.clone(),
            classes,
            fingerprint: fingerprint(&whole.fingerprint, [&train, &test, &validation]),
        };
        let class_names = match &keys.classes {
            Some(classes) if !report.class_names.is_empty() => {
                classes.iter().filter_map(|&class| report.class_names.get(class as usize).cloned()).collect()
            }
            _ => report.class_names,
        };
        let has_noise = keys.label_noise.is_some();
        Ok(Self { samples, description, train, test, validation, wrong, has_noise, class_names, findings })
    }

    fn split(&self, split: Split) -> &[Sample] {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    /// The samples with the given indices in `of`, whose targets are what `target` says. They may lie in both splits of
    /// the data set.
    fn gather(
        &self,
        split: Split,
        of: &[Sample],
        indices: &[u64],
        context: SampleContext,
        target: impl Fn(&Sample) -> u32,
    ) -> Result<Batch, DataError> {
        let samples = of.len() as u64;
        let find = |&sample: &u64| {
            let found = usize::try_from(sample).ok().and_then(|place| of.get(place));
            found.ok_or(DataError::NoSuchSample { sample, split, samples })
        };
        let wanted: Vec<&Sample> = indices.iter().map(find).collect::<Result<_, _>>()?;
        let size = self.description.input_size();
        let mut inputs = vec![0.0; wanted.len() * size];
        for from in [Split::Train, Split::Test] {
            let places: Vec<usize> = (0..wanted.len()).filter(|&place| wanted[place].split == from).collect();
            if places.is_empty() {
                continue;
            }
            let needed: Vec<u64> = places.iter().map(|&place| wanted[place].index).collect();
            let batch = self.samples.batch(from, &needed, context)?;
            batch.check(from, needed.len(), self.samples.description())?;
            for (values, place) in batch.inputs.chunks_exact(size.max(1)).zip(places) {
                inputs[place * size..(place + 1) * size].copy_from_slice(values);
            }
        }
        let targets = wanted.into_iter().map(|sample| Target::from(target(sample))).collect();
        Ok(Batch::new(inputs, &self.description.input_shape, targets))
    }
}

impl Dataset for Selection {
    fn description(&self) -> &DataDescription {
        &self.description
    }

    fn report(&self) -> DataReport {
        let mut samples = vec![[0; 2]; self.description.classes];
        for (place, split) in [Split::Train, Split::Test].into_iter().enumerate() {
            // Every class is one of the chosen ones.
            self.split(split).iter().for_each(|sample| samples[sample.given as usize][place] += 1);
        }
        let (class_names, findings) = (self.class_names.clone(), self.findings.clone());
        DataReport { description: self.description.clone(), class_names, samples, findings }
    }

    fn batch(&self, split: Split, samples: &[u64], context: SampleContext) -> Result<Batch, DataError> {
        self.gather(split, self.split(split), samples, context, |sample| sample.given)
    }

    fn labels(&self, split: Split) -> Result<Vec<u32>, DataError> {
        Ok(self.split(split).iter().map(|sample| sample.given).collect())
    }

    fn further_tests(&self) -> FurtherTests {
        FurtherTests {
            validation: self.validation.len() as u64,
            clean: if self.has_noise { self.train.len() as u64 } else { 0 },
            memorised: self.wrong.len() as u64,
        }
    }

    fn test_batch(&self, set: TestSet, samples: &[u64], context: SampleContext) -> Result<Batch, DataError> {
        match set {
            TestSet::Test => self.batch(Split::Test, samples, context),
            TestSet::Validation => {
                self.gather(Split::Test, &self.validation, samples, context, |sample| sample.class)
            }
            TestSet::Clean => self.gather(Split::Train, &self.train, samples, context, |sample| sample.class),
            TestSet::Memorised => {
                self.gather(Split::Train, &self.wrong, samples, context, |sample| sample.given)
            }
        }
    }
}

/// The samples of a split that have one of the chosen classes, in the order of the data set.
fn chosen(samples: &dyn Dataset, split: Split, keys: &Keys) -> Result<Vec<Sample>, DataError> {
    let before = if split == Split::Train { 0 } else { samples.description().train_samples };
    let labels = samples.labels(split)?;
    let numbered = labels.into_iter().zip(0_u64..);
    let kept = numbered.filter_map(|(label, index)| {
        let class = match &keys.classes {
            None => Some(label),
            Some(classes) => classes.iter().position(|&class| class == label).map(|place| place as u32),
        };
        class.map(|class| Sample { split, index, number: before + index, class, given: class })
    });
    Ok(kept.collect())
}

/// Depends on the data and on every choice.
fn fingerprint(whole: &Digest, lists: [&[Sample]; 3]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"selection");
    hasher.update(&whole.0);
    for list in lists {
        hasher.update(&(list.len() as u64).to_le_bytes());
        for sample in list {
            hasher.update(&sample.number.to_le_bytes());
            hasher.update(&sample.class.to_le_bytes());
            hasher.update(&sample.given.to_le_bytes());
        }
    }
    Digest(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests;
