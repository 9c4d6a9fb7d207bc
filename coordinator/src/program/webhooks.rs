//! Options of webhooks.

use std::path::PathBuf;

use clap::Args;

use crate::{ReceiverUrl, WebhookConfig};

/// Options of webhooks.
#[derive(Clone, Debug, Args)]
pub(super) struct WebhookArgs {
    /// POST an event here when a job ends, fails or pauses, all workers are lost, or the state cannot be stored; may be
    /// repeated.
    #[arg(
        long = "webhook",
        env = "LOOKBEHIND_WEBHOOK",
        value_name = "URL",
        value_delimiter = ' ',
        requires = "webhook_secret_file",
        hide_env_values = true
    )]
    urls: Vec<ReceiverUrl>,
    /// File with a secret of at least 16 bytes, from which the events are signed.
    #[arg(long, env = "LOOKBEHIND_WEBHOOK_SECRET_FILE", value_name = "FILE")]
    webhook_secret_file: Option<PathBuf>,
}

impl WebhookArgs {
    /// The configuration; `None` without receivers.
    pub(super) fn config(self) -> Option<WebhookConfig> {
        let Self { urls, webhook_secret_file } = self;
        let secret_file = webhook_secret_file.filter(|_| !urls.is_empty())?;
        Some(WebhookConfig { urls, secret_file })
    }
}
