//! Ctrl-C and SIGTERM: the first signal asks for an orderly end, the second one ends the program at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::CliError;
use crate::exit::Exit;

/// Receives signals from its creation on.
#[derive(Clone)]
pub struct Interrupt {
    first: CancellationToken,
}

impl Interrupt {
    /// Handles the signals for the rest of the program.
    ///
    /// # Errors
    /// If the operating system does not allow it.
    pub fn listen() -> Result<Self, CliError> {
        let failed = |source| CliError::System { what: "cannot listen for signals", source };
        let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
        let first = CancellationToken::new();
        let token = first.clone();
        tokio::spawn(async move {
            either(&mut interrupts, &mut terminations).await;
            token.cancel();
            either(&mut interrupts, &mut terminations).await;
            std::process::exit(i32::from(Exit::Interrupted.code()));
        });
        Ok(Self { first })
    }

    /// Waits for the first signal.
    pub async fn wait(&self) {
        self.first.cancelled().await;
    }

    /// Awaits a future unless a signal comes first. Then the future is dropped, and `said` provides the message.
    ///
    /// # Errors
    /// The error of the future, or [`CliError::Interrupted`].
    pub async fn unless<T>(
        &self,
        work: impl Future<Output = Result<T, CliError>>,
        said: impl FnOnce() -> String,
    ) -> Result<T, CliError> {
        tokio::select! {
            done = work => done,
            () = self.wait() => Err(CliError::Interrupted(said())),
        }
    }
}

async fn either(interrupts: &mut Signal, terminations: &mut Signal) {
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
    }
}
