//! One thing that happened to many samples, files or columns, with their number and some of their names.

use std::fmt::{Display, Formatter, Result};

use serde::{Deserialize, Serialize};

use crate::Split;

/// Most names that a finding keeps.
const EXAMPLES: usize = 5;
/// Most findings of a data set; what would be more has no line of its own.
const FINDINGS: usize = 64;

/// Something that the owner of the data should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// Parts of the data that are no samples.
    LeftOut {
        /// The split that they would belong to.
        split: Split,
        /// Why.
        reason: Reason,
        /// How many.
        count: u64,
        /// The first of them.
        examples: Vec<String>,
    },
    /// Samples that do not have the values that their files have.
    Converted {
        /// What happened to them.
        change: Change,
        /// How many.
        count: u64,
    },
    /// What the job chose of the data.
    Chosen(String),
}

/// Why something is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Files whose names do not end as those of images.
    Ending(String),
    /// Images in folders within the folder of a class.
    Nested,
    /// Images that lie beside the folders of classes.
    BesideClasses,
    /// Links to folders within the folder of a class.
    LinkedFolder,
    /// Files and folders that systems and tools make for themselves.
    Foreign,
    /// Folders without any file.
    EmptyFolder,
    /// Images whose files are damaged.
    Damaged,
    /// Rows without any content.
    BlankRow,
    /// Rows in which a value is missing.
    MissingValue,
    /// Columns without a name.
    UnnamedColumn,
}

/// What happened to samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Grey images got three equal channels, as others have colours.
    GreyToColours,
    /// Images with colours were made grey.
    ColoursToGrey,
    /// Images of 8 bits were brought to 16, which others have.
    EightToSixteen,
    /// Images were resized.
    Resized,
    /// Images were turned as their EXIF data say.
    Turned,
    /// Images were not turned, although their EXIF data say so.
    NotTurned,
    /// The opacity of pixels was dropped.
    OpacityDropped,
    /// Missing values were replaced.
    MissingReplaced,
    /// Values `true` and `false` were taken as 1 and 0.
    Booleans,
    /// New samples have no label; class 0 stands in its place.
    Unlabelled,
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::LeftOut { split, reason, count, examples } => {
                let what = reason.what(*count);
                write!(f, "left out of the {split} split: {count} {what} ({}", examples.join(", "))?;
                f.write_str(if *count > examples.len() as u64 { ", …)" } else { ")" })
            }
            Self::Converted { change, count } => write!(f, "{count} {}", change.what(*count)),
            Self::Chosen(text) => f.write_str(text),
        }
    }
}

impl Reason {
    fn what(&self, count: u64) -> String {
        let (one, many) = match self {
            Self::Ending(ending) if ending.is_empty() => {
                return "without the ending of an image's name".to_owned();
            }
            Self::Ending(ending) => return format!("with names that end in .{ending}"),
            Self::Nested => return "in subfolders, which nested = true reads".to_owned(),
            Self::BesideClasses => return "beside the folders of classes".to_owned(),
            Self::LinkedFolder => ("link to a folder", "links to folders"),
            Self::Foreign => ("file or folder of a system or tool", "files or folders of systems or tools"),
            Self::EmptyFolder => ("folder without files", "folders without files"),
            Self::Damaged => ("damaged image", "damaged images"),
            Self::BlankRow => ("row without content", "rows without content"),
            Self::MissingValue => ("row with a missing value", "rows with missing values"),
            Self::UnnamedColumn => ("column without a name", "columns without a name"),
        };
        if count == 1 { one } else { many }.to_owned()
    }
}

impl Change {
    fn what(self, count: u64) -> &'static str {
        let (one, many) = match self {
            Self::GreyToColours => (
                "grey image got three equal channels, as other images have colours",
                "grey images got three equal channels, as other images have colours",
            ),
            Self::ColoursToGrey => ("image with colours was made grey", "images with colours were made grey"),
            Self::EightToSixteen => (
                "image of 8 bits was brought to the 16 bits of other images",
                "images of 8 bits were brought to the 16 bits of other images",
            ),
            Self::Resized => ("image was resized", "images were resized"),
            Self::Turned => (
                "image was turned upright as its EXIF data say",
                "images were turned upright as their EXIF data say",
            ),
            Self::NotTurned => (
                "image was not turned upright as its EXIF data say: exif_orientation = false",
                "images were not turned upright as their EXIF data say: exif_orientation = false",
            ),
            Self::OpacityDropped => {
                ("image has an opacity, which was dropped", "images have an opacity, which was dropped")
            }
            Self::MissingReplaced => ("missing value was replaced", "missing values were replaced"),
            Self::Unlabelled => ("new sample has no label", "new samples have no labels"),
            Self::Booleans => ("truth value was taken as 1 or 0", "truth values were taken as 1 and 0"),
        };
        if count == 1 { one } else { many }
    }
}

/// Findings while a data set is read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    /// Notes something that is left out, by its name.
    pub(crate) fn leave_out(&mut self, split: Split, reason: Reason, name: impl FnOnce() -> String) {
        let same = |finding: &&mut Finding| {
            matches!(
                finding, Finding::LeftOut { split: of, reason: why, .. } if *of == split && *why == reason
            )
        };
        if let Some(Finding::LeftOut { count, examples, .. }) = self.0.iter_mut().find(same) {
            *count += 1;
            if examples.len() < EXAMPLES {
                examples.push(name());
            }
        } else if self.0.len() < FINDINGS {
            self.0.push(Finding::LeftOut { split, reason, count: 1, examples: vec![name()] });
        }
    }

    /// Notes how many samples changed, if there are any.
    pub(crate) fn convert(&mut self, change: Change, count: u64) {
        if count > 0 {
            self.0.push(Finding::Converted { change, count });
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Finding> {
        self.0
    }
}
