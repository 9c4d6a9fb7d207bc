//! Counts what happens to the images of a data set, for its report.

use crate::image::form::Form;
use crate::image::header::{Depth, Facts};
use crate::report::{Change, Findings};

/// Numbers of images.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    grey: u64,
    coloured: u64,
    of_eight_bits: u64,
    resized: u64,
    turned: u64,
    not_turned: u64,
    with_opacity: u64,
}

impl Tally {
    /// Counts an image that is brought to a form of this kind.
    pub(super) fn count(&mut self, facts: &Facts, form: &Form) {
        let seen = form.conversion.seen(facts);
        let turned = facts.orientation != Default::default();
        for (number, counts) in [
            (&mut self.grey, seen.channels == 1),
            (&mut self.coloured, seen.channels == 3),
            (&mut self.of_eight_bits, seen.depth == Depth::Eight),
            (&mut self.resized, form.conversion.resizes(&seen)),
            (&mut self.turned, turned && form.conversion.turns()),
            (&mut self.not_turned, turned && !form.conversion.turns()),
            (&mut self.with_opacity, facts.has_opacity),
        ] {
            *number += u64::from(counts);
        }
    }

    /// Notes what happened to the images of a data set that has this form.
    pub(super) fn report(&self, form: &Form, findings: &mut Findings) {
        let only = |applies: bool, number: u64| if applies { number } else { 0 };
        let channels = form.shape.channels;
        for (change, number) in [
            (Change::GreyToColours, only(channels == 3, self.grey)),
            (Change::ColoursToGrey, only(channels == 1, self.coloured)),
            (Change::EightToSixteen, only(form.shape.depth == Depth::Sixteen, self.of_eight_bits)),
            (Change::Resized, self.resized),
            (Change::Turned, self.turned),
            (Change::NotTurned, self.not_turned),
            (Change::OpacityDropped, self.with_opacity),
        ] {
            findings.convert(change, number);
        }
    }
}
