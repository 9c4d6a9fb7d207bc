//! Names by which processes of one machine find each other.
//!
//! A name is random, and lies in the machine's memory: a Linux abstract Unix socket has it as long as a process listens
//! there. It exists in one network namespace, and whoever can connect to it is in the same one. So nobody needs to
//! compare machines, and a container is another machine.

use std::fmt::Write as _;
use std::io;

use tokio::net::{UnixListener, UnixStream};

use crate::error::IdentityError;

/// The random part of the name of a socket on which a worker takes connections of processes of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketName([u8; Self::BYTES]);

impl SocketName {
    /// Length in bytes.
    pub const BYTES: usize = 16;

    /// A name that nobody else has.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn random() -> Result<Self, IdentityError> {
        let mut bytes = [0; Self::BYTES];
        getrandom::fill(&mut bytes).map_err(|error| IdentityError::System(error.to_string()))?;
        Ok(Self(bytes))
    }

    /// The name as it was received; `None` if it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The whole name. It begins with a text of our own: nobody can make a process connect to a socket of another kind.
    fn path(self) -> String {
        self.0.iter().fold("\0lookbehind-peer-".to_owned(), |mut path, byte| {
            // Writing to a string does not fail.
            let _ = write!(path, "{byte:02x}");
            path
        })
    }

    /// Listens under this name.
    ///
    /// # Errors
    /// If the system has no such sockets.
    pub fn listen(self) -> io::Result<UnixListener> {
        UnixListener::bind(self.path())
    }

    /// Connects to the process that listens under this name.
    ///
    /// # Errors
    /// If no process of this machine does.
    pub(crate) async fn connect(self) -> io::Result<UnixStream> {
        UnixStream::connect(self.path()).await
    }
}
