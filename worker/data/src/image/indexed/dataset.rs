//! A data set whose images are decoded when samples are asked for.

use lookbehind_common::digest::Digest;
use rayon::prelude::*;

use super::record::{Record, Records};
use super::{Contents, fingerprint};
use crate::image::decode;
use crate::image::form::Form;
use crate::image::header::{Depth, Value};
use crate::image::parameters::FingerprintOf;
use crate::loading::Loading;
use crate::memory::{self, Element};
use crate::report::{DataReport, Notes};
use crate::samples::Samples;
use crate::{Batch, DataDescription, DataError, Dataset, FileProblem, SampleContext, Split, Target};

/// Images of which an index and their records are there.
pub(in crate::image) struct Indexed {
    description: DataDescription,
    pub(super) form: Form,
    notes: Notes,
    records: Records,
    pub(super) splits: [Samples<Record>; 2],
    loading: Loading,
}

impl Indexed {
    /// The data set of an index whose memory has been charged.
    pub(super) fn new(
        records: Records,
        contents: Contents,
        of: FingerprintOf,
        loading: &Loading,
    ) -> Result<Self, DataError> {
        let Contents { form, classes, notes, splits } = contents;
        let input_shape = vec![form.shape.channels, form.shape.height, form.shape.width];
        let [train_samples, test_samples] = splits.each_ref().map(|split| split.targets.len());
        memory::check_shape(&input_shape, classes, train_samples)?;
        memory::check_targets(Split::Train, classes, &splits[0])?;
        memory::check_targets(Split::Test, classes, &splits[1])?;
        let description = DataDescription {
            train_samples: train_samples as u64,
            test_samples: test_samples as u64,
            input_shape,
            classes,
            fingerprint: Digest([0; 32]),
        };
        let mut data = Self { description, form, notes, records, splits, loading: loading.clone() };
        data.description.fingerprint = fingerprint::of(&data, of)?;
        // From here on nobody waits for loading, who might cancel it.
        data.loading = loading.for_reading();
        Ok(data)
    }

    fn split(&self, split: Split) -> &Samples<Record> {
        match split {
            Split::Train => &self.splits[0],
            Split::Test => &self.splits[1],
        }
    }

    /// The loading that reading belongs to.
    pub(super) fn loading(&self) -> &Loading {
        &self.loading
    }

    /// The pixels of an image [channels, height, width].
    pub(super) fn decoded<T: Value>(&self, record: &Record) -> Result<Vec<T>, DataError> {
        let _lent = self.loading.lend_in_turn(record.work.max(record.length))?;
        let bytes = self.records.read(record)?;
        let decoded = decode::decode(&bytes, self.loading.limit(), |facts| self.form.accept(facts));
        let (image, ()) =
            decoded.map_err(|problem| self.records.error(record, FileProblem::image("image", problem)))?;
        Ok(self.form.bring(image))
    }

    /// Writes the values that a model gets of an image.
    fn read_to(&self, record: &Record, to: &mut [f32]) -> Result<(), DataError> {
        fn write<T: Element>(pixels: &[T], to: &mut [f32]) {
            pixels.iter().zip(to).for_each(|(pixel, to)| *to = pixel.input());
        }
        match self.form.shape.depth {
            Depth::Eight => write(&self.decoded::<u8>(record)?, to),
            Depth::Sixteen => write(&self.decoded::<u16>(record)?, to),
        }
        Ok(())
    }
}

impl Dataset for Indexed {
    fn description(&self) -> &DataDescription {
        &self.description
    }

    fn report(&self) -> DataReport {
        let Notes { class_names, findings } = self.notes.clone();
        let samples =
            memory::counted(self.description.classes, self.splits.each_ref().map(|split| &split.targets));
        DataReport { description: self.description.clone(), class_names, samples, findings }
    }

    /// Of several images that cannot be used, the error names the first, whichever thread found it first.
    fn batch(&self, split: Split, samples: &[u64], _pass: SampleContext) -> Result<Batch, DataError> {
        let Samples { inputs: records, targets: classes } = self.split(split);
        let find = |&sample: &u64| {
            let row = usize::try_from(sample).ok();
            match row.and_then(|row| Some((records.get(row)?, classes.get(row)?))) {
                Some((&[record], &[class])) => Ok((record, class)),
                _ => Err(DataError::NoSuchSample { sample, split, samples: classes.len() as u64 }),
            }
        };
        let wanted: Vec<(Record, u32)> = samples.iter().map(find).collect::<Result<_, _>>()?;
        let size = self.description.input_size();
        let mut inputs = vec![0.0; wanted.len() * size];
        let images = inputs.par_chunks_exact_mut(size).zip(&wanted);
        let read: Vec<_> = images.map(|(to, (record, _))| self.read_to(record, to)).collect();
        read.into_iter().collect::<Result<(), _>>()?;
        let targets = wanted.into_iter().map(|(_, class)| Target::from(class)).collect();
        Ok(Batch::new(inputs, &self.description.input_shape, targets))
    }

    fn labels(&self, split: Split) -> Result<Vec<u32>, DataError> {
        Ok(self.split(split).targets.slices().flatten().copied().collect())
    }
}
