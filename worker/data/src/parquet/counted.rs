//! Pages of a column whose bytes are charged before they are read, as long as values in them are needed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result};

use super::claims;
use super::pages::Needs;
use super::schema::Leaf;
use crate::DataError;
use crate::loading::{Lent, Loading};

/// Reads the pages of a column.
pub(super) struct Counted {
    pages: Box<dyn PageReader>,
    needs: Needs,
    /// Number of lists around a value, and whether there are definition levels.
    lists: i16,
    nulls: bool,
    loading: Loading,
    held: Held,
}

/// The memory of the pages that were read. Values refer to the page that they stand in.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    dictionary: Option<Lent>,
    data: Vec<Lent>,
}

impl Held {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The values that were read so far are no longer needed: all pages go but the one that is being read.
    pub(super) fn release(&self) {
        let data = &mut self.pages().data;
        data.drain(..data.len().saturating_sub(1));
    }
}

impl Counted {
    pub(super) fn new(
        pages: Box<dyn PageReader>,
        needs: Needs,
        leaf: &Leaf,
        loading: &Loading,
    ) -> (Self, Held) {
        let held = Held::default();
        let (lists, nulls) = (leaf.lists, leaf.defined > 0);
        (Self { pages, needs, lists, nulls, loading: loading.clone(), held: held.clone() }, held)
    }

    fn read(&mut self) -> std::result::Result<Option<Page>, ParquetError> {
        let refused = |error: DataError| ParquetError::External(Box::new(error));
        self.loading.check().map_err(|cancelled| refused(cancelled.into()))?;
        let mut lent = self.loading.lend(self.needs.page).map_err(refused)?;
        let Some(page) = self.pages.get_next_page()? else { return Ok(None) };
        lent.shrink(page.buffer().len() as u64);
        let claimed = claims::of_page(&page, self.lists, self.nulls).map_err(ParquetError::General)?;
        lent.grow(claimed).map_err(refused)?;
        if page.is_data_page() {
            self.held.pages().data.push(lent);
        } else {
            lent.grow(self.needs.dictionary).map_err(refused)?;
            self.held.pages().dictionary = Some(lent);
        }
        Ok(Some(page))
    }
}

impl PageReader for Counted {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.read()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for Counted {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.read().transpose()
    }
}
