//! How a client finds its coordinator: by the same options, variables and defaults as the command line tool.

use std::path::PathBuf;

use clap::Parser;
use lookbehind::args::{Cli, Command, Remote, Train};
use lookbehind::client::Client;
use lookbehind::error::CliError;
use tokio::sync::Mutex;

/// A connection that is opened by the first call.
pub(crate) struct Connection {
    remote: Remote,
    /// The client, and the process that has its connection.
    open: Mutex<Option<(u32, Client)>>,
}

impl Connection {
    /// A connection to `url` with a folder of credentials; what is not given is as for the command line tool.
    ///
    /// # Errors
    /// If the environment says something that the command line tool would refuse.
    pub(crate) fn new(url: Option<String>, credentials: Option<PathBuf>) -> Result<Self, CliError> {
        let Command::Workers(usual) = command("workers")? else { return Err(other_command()) };
        let remote = Remote { url: url.unwrap_or(usual.url), credentials: credentials.or(usual.credentials) };
        Ok(Self { remote, open: Mutex::new(None) })
    }

    /// URL of the coordinator.
    pub(crate) fn url(&self) -> &str {
        &self.remote.url
    }

    /// The client. It is opened by the first call that succeeds, and again in a process that was forked.
    ///
    /// # Errors
    /// As [`Client::to`].
    pub(crate) async fn client(&self) -> Result<Client, CliError> {
        let process = std::process::id();
        let mut open = self.open.lock().await;
        match &*open {
            Some((owner, client)) if *owner == process => Ok(client.clone()),
            _ => {
                let client = Client::to(&self.remote).await?;
                *open = Some((process, client.clone()));
                Ok(client)
            }
        }
    }
}

/// The arguments of `lookbehind train` that hold if none are given.
///
/// # Errors
/// If the environment says something that the command line tool would refuse.
pub(crate) fn usual_train() -> Result<Train, CliError> {
    match command("train")? {
        Command::Train(args) => Ok(args),
        _ => Err(other_command()),
    }
}

/// A command as it is without arguments: from the environment and by its defaults.
fn command(name: &str) -> Result<Command, CliError> {
    let parsed = Cli::try_parse_from(["lookbehind", name]);
    parsed.map(|cli| cli.command).map_err(|error| CliError::Usage(error.to_string().trim_end().to_owned()))
}

fn other_command() -> CliError {
    CliError::Usage("the command line was read as another command".to_owned())
}
