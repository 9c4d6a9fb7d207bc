//! Copies of the database of one moment, also while it is in use, and what a backup does with such a copy.

use std::path::Path;
use std::sync::RwLock;

use redb::{Key, ReadTransaction, TableDefinition, TableHandle, Value, WriteTransaction};

use super::records::{OnTable, create_tables, on_all_tables};
use super::reserve::Reserve;
use super::{DATABASE, Store, StoreError, builder, database_error, format1, lock};
use crate::state::Stored;

/// Copies tables from one database to another.
struct Copy<'a> {
    from: &'a ReadTransaction,
    to: &'a WriteTransaction,
    /// Names of the tables that are not copied yet.
    left: Vec<String>,
}

impl OnTable for Copy<'_> {
    fn on<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), StoreError> {
        self.left.retain(|name| name != table.name());
        let from = self.from.open_table(table).map_err(database_error)?;
        let mut to = self.to.open_table(table).map_err(database_error)?;
        for entry in from.range::<K::SelfType<'_>>(..).map_err(database_error)? {
            let (key, value) = entry.map_err(database_error)?;
            to.insert(key.value(), value.value()).map_err(database_error)?;
        }
        Ok(())
    }
}

impl Store {
    /// Writes what the database holds at this moment into a new database at `path`, durably. Changes that are stored
    /// meanwhile do not wait for it, and are not in it.
    ///
    /// # Errors
    /// If the database cannot be read, or the copy cannot be written.
    pub(crate) fn copy_database(&self, path: &Path) -> Result<(), StoreError> {
        let from = self.begin_read()?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io(path)(error));
            }
            _ => {}
        }
        let copy = builder().create(path).map_err(database_error)?;
        let to = copy.begin_write().map_err(database_error)?;
        let left = from.list_tables().map_err(database_error)?.map(|table| table.name().to_owned()).collect();
        let mut tables = Copy { from: &from, to: &to, left };
        on_all_tables(&mut tables)?;
        if !tables.left.is_empty() {
            let reason = format!("it has tables that this build does not know: {}", tables.left.join(", "));
            return Err(StoreError::unfit(&self.root.join(DATABASE), reason));
        }
        to.commit().map_err(database_error)
    }

    /// Opens a state folder without beginning an incarnation, to look at what it holds. No coordinator can use it
    /// meanwhile.
    ///
    /// # Errors
    /// If it is in use, has another format than that of this build, is damaged, or cannot be read.
    pub(crate) fn open_to_copy(root: &Path) -> Result<(Self, Stored), StoreError> {
        // Opening the lock would create what is not there.
        std::fs::metadata(root.join(DATABASE)).map_err(StoreError::io(&root.join(DATABASE)))?;
        let lock = lock(root)?;
        let mut database = builder().open(root.join(DATABASE)).map_err(database_error)?;
        format1::convert(&mut database, root)?;
        let (database, root, reserve) = (RwLock::new(Some(database)), root.to_owned(), Reserve::of(root));
        let store = Self { database, root, reserve, _lock: lock };
        // An earlier build may not have had all of them.
        let transaction = store.begin_write()?;
        create_tables(&transaction)?;
        transaction.commit().map_err(database_error)?;
        let (stored, _) = store.stored()?;
        Ok((store, stored))
    }
}
