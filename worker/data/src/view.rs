//! A data set with its job's options applied: normalised and, in the training split, augmented.

use lookbehind_common::job::{JobError, Parameters};
use lookbehind_common::test_set::{FurtherTests, TestSet};

use super::augment::{Transform, mix};
use super::draws::{Changes, Mixture};
use super::options::Options;
use super::planes::Planes;
use super::selection::{Keys, select};
use super::{
    Batch, DataDescription, DataError, DataReport, Dataset, InputSpec, MixedClass, SampleContext, Split,
    Target,
};

/// A data set whose samples are prepared as `[data]` says.
struct View {
    samples: Box<dyn Dataset>,
    options: Options,
    transform: Transform,
}

/// Loads a data set of any kind and prepares its samples as `[data]` says: `load` gets the parameters that belong to
/// the kind. Without options the data set is returned as it is. What is drawn is keyed by `seed`, the job's.
///
/// # Errors
/// When `load` fails, or the options do not fit each other or the samples (the job's fault).
pub fn with_options(
    parameters: &Parameters,
    seed: u64,
    load: impl FnOnce(&Parameters) -> Result<Box<dyn Dataset>, DataError>,
) -> Result<Box<dyn Dataset>, DataError> {
    let (keys, rest) = Keys::take(parameters)?;
    let (options, rest) = Options::take(&rest)?;
    let samples = select(load(&rest)?, &keys, seed)?;
    if options.change_nothing() {
        return Ok(samples);
    }
    Ok(Box::new(View::new(samples, options)?))
}

/// Whether the job's seed decides which samples of a data set are used.
pub fn depends_on_seed(parameters: &Parameters) -> bool {
    // Wrong keys are refused where the data set is loaded.
    Keys::take(parameters).is_ok_and(|(keys, _)| keys.draw())
}

/// The input spec of any kind of data set, where `input_spec` is that of the kind's own parameters.
///
/// # Errors
/// When the options do not fit each other or the samples, or when `input_spec` fails.
pub fn input_spec_with_options(
    parameters: &Parameters,
    input_spec: impl FnOnce(&Parameters) -> Result<Option<InputSpec>, JobError>,
) -> Result<Option<InputSpec>, JobError> {
    let (keys, rest) = Keys::take(parameters)?;
    let (options, rest) = Options::take(&rest)?;
    let Some(InputSpec { input_shape, classes }) = input_spec(&rest)? else { return Ok(None) };
    options.check_shape(&input_shape, Planes::of(&input_shape))?;
    let classes = keys.number_of_classes(classes)?;
    Ok(Some(InputSpec { input_shape, classes }))
}

impl View {
    fn new(samples: Box<dyn Dataset>, options: Options) -> Result<Self, DataError> {
        let input_shape = &samples.description().input_shape;
        if input_shape.contains(&0) {
            let problem = format!("found inputs of shape {input_shape:?}, expected at least one number each");
            return Err(DataError::Content { split: Split::Train, problem });
        }
        let planes = Planes::of(input_shape);
        options.check_shape(input_shape, planes)?;
        let transform = Transform::new(planes, &options.augment, options.normalize.clone());
        Ok(Self { samples, options, transform })
    }

    /// The indices of the samples, followed by those of the partners that they are mixed with.
    fn with_partners(&self, samples: &[u64], mixtures: &[Option<Mixture>]) -> Vec<u64> {
        samples.iter().copied().chain(mixtures.iter().flatten().map(|mixture| mixture.partner)).collect()
    }

    /// Number of elements in a sample; at least one.
    fn size(&self) -> usize {
        self.transform.planes.size()
    }

    fn changed(&self, split: Split, samples: &[u64], context: SampleContext, pixels: &[f32]) -> Vec<f32> {
        let mut inputs = vec![0.0; pixels.len()];
        let images = pixels.chunks_exact(self.size()).zip(inputs.chunks_exact_mut(self.size()));
        for (&sample, (from, to)) in samples.iter().zip(images) {
            self.transform.apply(from, &self.changes(split, context, sample), to);
        }
        inputs
    }

    /// Mixes the partners, which follow the samples in the order of the mixtures, into the samples. The batch has been
    /// checked to hold all of them, so both vectors can be split there.
    fn mix_partners(&self, mixtures: &[Option<Mixture>], inputs: &mut [f32], targets: &mut [Target]) {
        let samples = mixtures.len();
        let (own, others) = inputs.split_at_mut(samples * self.size());
        let (targets, classes) = targets.split_at_mut(samples);
        let partners = others.chunks_exact_mut(self.size()).zip(classes);
        let own = own.chunks_exact_mut(self.size()).zip(targets).zip(mixtures);
        let mixed = own.filter_map(|(own, mixture)| mixture.as_ref().map(|mixture| (own, mixture)));
        for (((image, target), mixture), (partner, other)) in mixed.zip(partners) {
            mix(image, partner, self.transform.planes, mixture);
            target.mixed = Some(MixedClass { class: other.class, share: mixture.share });
        }
    }

    fn changes(&self, split: Split, context: SampleContext, sample: u64) -> Changes {
        match split {
            Split::Train => Changes::of(&self.options.augment, self.transform.planes, context, sample),
            Split::Test => Changes::default(),
        }
    }

    fn mixture(&self, split: Split, context: SampleContext, sample: u64) -> Option<Mixture> {
        let samples = self.samples.description().train_samples;
        (split == Split::Train)
            .then(|| Mixture::of(&self.options.augment, self.transform.planes, samples, context, sample))
            .flatten()
    }
}

impl Dataset for View {
    fn description(&self) -> &DataDescription {
        self.samples.description()
    }

    fn report(&self) -> DataReport {
        self.samples.report()
    }

    /// A partner of a mixture is augmented as if it were used itself, but it is not mixed again.
    fn batch(&self, split: Split, samples: &[u64], context: SampleContext) -> Result<Batch, DataError> {
        let mixtures: Vec<_> = samples.iter().map(|&sample| self.mixture(split, context, sample)).collect();
        let needed = self.with_partners(samples, &mixtures);
        let raw = self.samples.batch(split, &needed, context)?;
        raw.check(split, needed.len(), self.description())?;
        let mut inputs = self.changed(split, &needed, context, &raw.inputs);
        let mut targets = raw.targets;
        self.mix_partners(&mixtures, &mut inputs, &mut targets);
        inputs.truncate(samples.len() * self.size());
        targets.truncate(samples.len());
        let smoothing = if split == Split::Train { self.options.label_smoothing } else { 0.0 };
        Ok(Batch { smoothing, ..Batch::new(inputs, &self.description().input_shape, targets) })
    }

    fn labels(&self, split: Split) -> Result<Vec<u32>, DataError> {
        self.samples.labels(split)
    }

    fn further_tests(&self) -> FurtherTests {
        self.samples.further_tests()
    }

    /// Samples of any test are normalised as those of the test split, and not augmented.
    fn test_batch(&self, set: TestSet, samples: &[u64], context: SampleContext) -> Result<Batch, DataError> {
        let raw = self.samples.test_batch(set, samples, context)?;
        raw.check(Split::Test, samples.len(), self.description())?;
        let inputs = self.changed(Split::Test, samples, context, &raw.inputs);
        Ok(Batch::new(inputs, &self.description().input_shape, raw.targets))
    }
}

#[cfg(test)]
mod tests;
