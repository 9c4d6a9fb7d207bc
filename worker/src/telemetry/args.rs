//! Command-line arguments for monitoring a worker.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use clap::builder::FalseyValueParser;
use lookbehind_identity::{CERTIFICATE, Folder, Watched};
use lookbehind_telemetry::logs::LogFormat;
use lookbehind_telemetry::probe::Probe;
use tokio_util::sync::CancellationToken;

use super::{ServeError, Server};

/// Where a worker can be monitored, and how it writes its logs.
#[derive(Debug, Args)]
pub(crate) struct TelemetryArgs {
    /// Address on which to serve /metrics, /livez and /readyz; by default they are not served.
    #[arg(long, env = "LOOKBEHIND_HTTP", value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Allow plain text on an address that other machines reach.
    #[arg(long, env = "LOOKBEHIND_PLAINTEXT", value_parser = FalseyValueParser::new())]
    plaintext: bool,
    /// Format of the log lines; LOOKBEHIND_LOG selects them.
    #[arg(long, env = "LOOKBEHIND_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// Query the worker that listens on --http: exit with 0 if it is ready, with 1 if not.
    #[arg(long, requires = "http")]
    pub(crate) probe: bool,
}

impl TelemetryArgs {
    /// Asks the running worker whether it is ready, and returns the exit code of the answer.
    #[expect(clippy::expect_used, reason = "the parser refuses --probe without --http")]
    pub(crate) fn ask(&self, credentials: Option<&Path>) -> ExitCode {
        let certificate = credentials.map(|folder| folder.join(CERTIFICATE)).filter(|path| path.exists());
        Probe { address: self.http.expect("--probe comes with --http"), certificate }.run()
    }

    /// Listens until `end`, if the arguments ask for it. Uses TLS if the worker has a certificate, which is read again
    /// when it changes.
    pub(crate) async fn listen(
        &self,
        credentials: Option<&Path>,
        end: &CancellationToken,
    ) -> Result<Option<Server>, ServeError> {
        let Some(address) = self.http else { return Ok(None) };
        let watched = credentials.map(|folder| Watched::public(Folder::new(folder)));
        let watched = watched.transpose()?.flatten();
        let tls = watched.as_ref().map(Watched::subscribe);
        if let Some(watched) = watched {
            tokio::spawn(watched.run(end.clone()));
        }
        Server::bind(address, tls, self.plaintext).await.map(Some)
    }
}
