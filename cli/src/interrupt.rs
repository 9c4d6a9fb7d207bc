//! Ctrl-C and SIGTERM: the first one asks for an orderly end, the second one ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::CliError;
use crate::exit::Exit;

/// Listens for signals from its creation on.
#[derive(Clone)]
pub struct Interrupt {
    first: CancellationToken,
}

impl Interrupt {
    /// Takes the signals over for the rest of the program.
    ///
    /// # Errors
    /// When the system does not let it.
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

    /// Returns once the first signal has come.
    pub async fn wait(&self) {
        self.first.cancelled().await;
    }

    /// Does some work unless a signal comes first; then the work is dropped and `said` is what is told.
    ///
    /// # Errors
    /// Those of the work, or the interruption.
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
