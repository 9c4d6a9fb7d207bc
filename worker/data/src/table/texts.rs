//! The texts of columns that become one input for each text: they are known once the training split was read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::COLUMN;
use super::columns::text;
use super::header::Use;
use super::rows::{Entry, Rows};
use crate::loading::{Lent, Loading};
use crate::source::Source;
use crate::{DataError, FileProblem};

/// Most different texts of a column.
const MAX_TEXTS: usize = 1 << 12;

/// The texts of some columns by name.
pub(super) struct Texts {
    texts: BTreeMap<String, BTreeSet<String>>,
    lent: Lent,
}

impl Texts {
    pub(super) fn new(columns: &BTreeSet<String>, loading: &Loading) -> Result<Self, DataError> {
        let texts = columns.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
        Ok(Self { texts, lent: loading.lend(0)? })
    }

    /// Collects the texts of the rows that follow a header.
    pub(super) fn collect(
        &mut self,
        file: &Source,
        header: &[String],
        rows: &mut Rows<'_>,
    ) -> Result<(), DataError> {
        let uses = header.iter().map(|name| match self.texts.contains_key(name) {
            true => Use::OneHot(HashMap::new()),
            false => Use::Nothing,
        });
        rows.select(&uses.collect::<Vec<_>>())?;
        let mut place = 0;
        while let Some(Entry { value, ends_row }) = rows.next(|| format!("cell {place} of a row"))? {
            if let Some(texts) = header.get(place).and_then(|name| self.texts.get_mut(name)) {
                // A text that is none is refused where its row is read.
                let text = text(value).unwrap_or_default();
                if !text.is_empty() && !texts.contains(text.as_ref()) {
                    self.lent.grow(COLUMN + 2 * text.len() as u64)?;
                    texts.insert(text.into_owned());
                }
                if texts.len() > MAX_TEXTS {
                    let (found, expected) = (texts.len(), format!("at most {MAX_TEXTS}"));
                    let what = "different texts in a column of data.one_hot";
                    return Err(file.error(FileProblem::Count { what, found, expected }));
                }
            }
            place = if ends_row { 0 } else { place + 1 };
        }
        Ok(())
    }

    /// The number of each text in the order of the texts of its column, and the memory of all.
    pub(super) fn numbered(self) -> (HashMap<String, HashMap<String, u32>>, Lent) {
        let numbered = |texts: BTreeSet<String>| texts.into_iter().zip(0..).collect();
        (self.texts.into_iter().map(|(name, texts)| (name, numbered(texts))).collect(), self.lent)
    }
}
