//! Images that come decoded already.

use lookbehind_common::job::JobError;

use super::{Collector, Rejected};
use crate::image::decode::ImageProblem;
use crate::image::header::{Depth, Facts, Header, Image, Pixels};
use crate::image::stored::{Stored, place};
use crate::{DataError, Split};

impl Collector {
    /// Announces a number of decoded images [channels, height, width], which come in this form.
    pub(crate) fn expect_raw(&mut self, images: u64, shape: [usize; 3]) -> Result<(), Rejected> {
        self.check_in_memory()?;
        self.expected = images;
        let form = self.form(&facts_of(shape)?)?;
        self.check_room(images, form).map_err(Rejected::Other)
    }

    /// Keeps images that are already decoded, [channels, height, width], one after the other.
    pub(crate) fn extend_raw(
        &mut self,
        split: Split,
        shape: [usize; 3],
        pixels: &[u8],
        labels: &[u32],
    ) -> Result<(), Rejected> {
        self.check_in_memory()?;
        let facts = facts_of(shape)?;
        let form = self.form(&facts)?;
        let as_stored = facts.stored == form.shape;
        let work = if as_stored { 0 } else { form.work(&facts) };
        let _lent = self.loading.lend(work).map_err(Rejected::Other)?;
        self.keep(labels.len(), form).map_err(Rejected::Other)?;
        labels.iter().for_each(|_| self.tally.count(&facts, &form));
        let stored = self.stored();
        labels.iter().for_each(|&label| stored.targets(split).push([label]));
        for image in pixels.chunks_exact(facts.stored.size()) {
            let decoded =
                || Image { facts, pixels: Pixels::Eight(interleaved(image, facts.stored.channels)) };
            match stored {
                Stored::Eight(splits) if as_stored => splits[place(split)].inputs.push(image.iter().copied()),
                Stored::Eight(splits) => splits[place(split)].inputs.push(form.bring(decoded())),
                Stored::Sixteen(splits) => splits[place(split)].inputs.push(form.bring(decoded())),
                // Refused above.
                Stored::Gathered(_) => {}
            }
        }
        Ok(())
    }

    /// Refuses to index images that are no files.
    fn check_in_memory(&self) -> Result<(), Rejected> {
        if !self.parameters.is_indexed() {
            return Ok(());
        }
        let problem = "expected \"memory\": the images of these data are stored as pixels, found \"indexed\"";
        Err(Rejected::Other(DataError::Parameter(JobError::new("data.loading", problem))))
    }
}

/// The facts of a decoded image, whose size no decoder has checked.
fn facts_of([channels, height, width]: [usize; 3]) -> Result<Facts, Rejected> {
    let header = Header { height, width, channels, depth: Depth::Eight };
    match usize::try_from(header.bytes()) {
        Ok(_) if header.bytes() < u64::MAX => Ok(Facts::plain(header)),
        _ => Err(Rejected::Image(0, ImageProblem::TooLarge { width, height, limit: u64::MAX })),
    }
}

fn interleaved(image: &[u8], channels: usize) -> Vec<u8> {
    let plane = image.len() / channels;
    (0..plane).flat_map(|pixel| image.iter().skip(pixel).step_by(plane).copied()).collect()
}
