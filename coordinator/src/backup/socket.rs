//! The socket in the state folder on which a running coordinator hands out a copy of its database. An answer is a byte
//! that says whether the rest is the copy or the reason why there is none, the length of the rest (u64, little-endian), and
//! the rest.

use std::fs::File;
use std::io::{Read, Take};
use std::os::unix::net::UnixStream as Connection;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::BackupError;
use crate::store::{Store, StoreError};

/// Name of the socket in the state folder.
const SOCKET: &str = "backup.sock";
/// Name of the copy until it is open; then it has none, and goes with whoever has it open.
const COPY: &str = ".backup.redb";
/// How long either side waits for the whole answer.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long the coordinator waits after it could not take a connection, such as for want of open files.
const PAUSE: Duration = Duration::from_secs(1);

/// The rest of an answer is the copy.
const GIVEN: u8 = 1;
/// The rest of an answer is the reason why there is none.
const REFUSED: u8 = 0;

/// Answers until `end` is cancelled, one caller after the other. The store is closed meanwhile if nothing else needs it.
///
/// # Errors
/// If the socket cannot be created: then the running state cannot be backed up.
pub(crate) fn listen(store: &Arc<Store>, end: CancellationToken) -> Result<(), StoreError> {
    let path = store.root().join(SOCKET);
    // Of an earlier start: the folder is locked, so nobody listens there.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(StoreError::io(&path))?;
    let store = Arc::downgrade(store);
    tokio::spawn(async move {
        let _ = end.run_until_cancelled(answer_all(listener, store)).await;
    });
    Ok(())
}

async fn answer_all(listener: UnixListener, store: Weak<Store>) {
    loop {
        let Ok((connection, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match tokio::time::timeout(PATIENCE, answer(connection, store.clone())).await {
            Ok(Ok(())) => tracing::info!("the database was copied for a backup"),
            Ok(Err(error)) => tracing::warn!(%error, "the database could not be copied for a backup"),
            Err(_) => {
                tracing::warn!(patience = ?PATIENCE, "a backup did not take the copy of the database in time")
            }
        }
    }
}

async fn answer(mut connection: UnixStream, store: Weak<Store>) -> std::io::Result<()> {
    let copied = tokio::task::spawn_blocking(move || copy(&store)).await.map_err(std::io::Error::other)?;
    match copied {
        Ok((file, length)) => {
            send_header(&mut connection, GIVEN, length).await?;
            tokio::io::copy(&mut tokio::fs::File::from_std(file), &mut connection).await?;
            connection.shutdown().await
        }
        Err(reason) => {
            send_header(&mut connection, REFUSED, reason.len() as u64).await?;
            connection.write_all(reason.as_bytes()).await?;
            Err(std::io::Error::other(reason))
        }
    }
}

async fn send_header(connection: &mut UnixStream, kind: u8, length: u64) -> std::io::Result<()> {
    connection.write_u8(kind).await?;
    connection.write_u64_le(length).await
}

/// A copy of the database without a name, and its length; or the reason why there is none.
fn copy(store: &Weak<Store>) -> Result<(File, u64), String> {
    let store = store.upgrade().ok_or("the coordinator is shutting down")?;
    let path = store.root().join(COPY);
    let copied = store.copy_database(&path).and_then(|()| {
        let file = File::open(&path).map_err(StoreError::io(&path))?;
        let length = file.metadata().map_err(StoreError::io(&path))?.len();
        Ok((file, length))
    });
    // Also what a failed attempt has left; nothing may be there.
    let _ = std::fs::remove_file(&path);
    copied.map_err(|error| error.to_string())
}

/// Asks the coordinator that uses a state folder for a copy of its database; returns the reader and its length.
///
/// # Errors
/// If nobody answers, or the coordinator has none to give.
pub(super) fn ask(state: &Path) -> Result<(Take<Connection>, u64), BackupError> {
    let path = state.join(SOCKET);
    let asked = (|| {
        let mut connection = Connection::connect(&path)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let (mut kind, mut length) = ([0; 1], [0; 8]);
        connection.read_exact(&mut kind)?;
        connection.read_exact(&mut length)?;
        Ok((connection, kind, u64::from_le_bytes(length)))
    })();
    let no_answer = |path: PathBuf| move |source| BackupError::NoAnswer { path, source };
    let (connection, kind, length) = asked.map_err(no_answer(path.clone()))?;
    let mut rest = connection.take(length);
    if kind == [GIVEN] {
        return Ok((rest, length));
    }
    let mut reason = String::new();
    rest.read_to_string(&mut reason).map_err(no_answer(path))?;
    Err(BackupError::Refused(reason))
}
