//! `train`: runs a job on a whole cluster inside this process.

mod kept;

use std::path::PathBuf;
use std::time::Duration;

use lookbehind_common::text::counted;
use lookbehind_proto::json::state_name;
use lookbehind_proto::v1;
use lookbehind_worker::registry::Registry;

use crate::args::Train;
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::follow::Follow;
use crate::interrupt::Interrupt;
use crate::job::{JobSource, folder_of};
use crate::local::{self, Cluster, State};
use crate::output::Output;
use kept::Kept;

/// How long an interrupted job may take to complete its outer step and write a checkpoint.
const GRACE: Duration = Duration::from_secs(30);

/// Trains a job.
///
/// # Errors
/// If the job file is invalid, the job fails, an output cannot be written, or the user interrupts.
pub(super) async fn run(args: &Train, console: &Console, registry: Registry) -> Result<(), CliError> {
    let folder = args.job.as_deref().map_or_else(|| PathBuf::from("."), folder_of);
    let data = args.data.as_deref().unwrap_or(&folder);
    let remote = args.remote.clone().into_data();
    let backend = local::backend(registry, data, remote, args.workers, &args.device)?;
    let source = match &args.job {
        Some(path) => JobSource::read_with(path, &args.settings.set, Some(&backend))?,
        None => JobSource::embedded(&args.settings.set)?,
    };
    let output = Output::prepare_for(&args.out, &source)?;
    let interrupt = Interrupt::listen()?;
    let state = State::new(args.state.as_deref())?;
    let mut cluster = Cluster::start(state, args.workers, data, backend).await?;
    let run = Run { args, console, source: &source, interrupt: &interrupt };
    let result = Box::pin(run.on(&mut cluster, output)).await;
    cluster.shutdown().await;
    result
}

/// One run of `train`.
struct Run<'a> {
    args: &'a Train,
    console: &'a Console,
    source: &'a JobSource,
    interrupt: &'a Interrupt,
}

impl Run<'_> {
    /// Trains on a running cluster.
    async fn on(&self, cluster: &mut Cluster, output: Option<Output>) -> Result<(), CliError> {
        let client = Client::connect(&cluster.url()).await?;
        let job = Box::pin(self.job(&client)).await?;
        let (workers, label) = (counted(self.args.workers.into(), "worker"), &self.source.label);
        self.console.note(format_args!("{} training {label} on {workers} in this process", job.id));
        let mut follow = Follow::new(self.console, &client, job, output);
        tokio::select! {
            over = follow.until_over() => over?,
            broken = cluster.broken() => return Err(broken),
            () = self.interrupt.wait() => return self.stop(follow).await,
        }
        follow.conclude().await
    }

    /// The job: a new one or, if the state folder has it from an earlier run, that one. Other jobs are set aside.
    async fn job(&self, client: &Client) -> Result<v1::Job, CliError> {
        let kept = match &self.args.state {
            Some(_) => Kept::found_by(client).await?,
            None => Kept::default(),
        };
        let job = match kept.same(&self.source.message()) {
            Some(job) => self.go_on(client, job).await?,
            None => {
                if let Some(why) = kept.why_anew(self.source) {
                    self.console.say(why);
                }
                Box::pin(self.source.submit(client)).await?
            }
        };
        for id in kept.set_aside(client, &job.id).await? {
            self.console
                .say(format_args!("job {id} is paused meanwhile: `train` with its file goes on with it"));
        }
        Ok(job)
    }

    /// Goes on with a job of an earlier run, from its newest checkpoint; one that has succeeded stays as it is.
    async fn go_on(&self, client: &Client, job: &v1::Job) -> Result<v1::Job, CliError> {
        match job.state() {
            v1::JobState::Paused => client.resume(&job.id, false).await,
            v1::JobState::Failed | v1::JobState::Cancelled => {
                let state = state_name(job.state());
                self.console
                    .say(format_args!("job {} in the state folder is {state}: it is retried", job.id));
                client.retry(&job.id).await
            }
            _ => Ok(job.clone()),
        }
    }

    /// After an interrupt: the job completes its outer step and is paused.
    async fn stop(&self, mut follow: Follow) -> Result<(), CliError> {
        self.console.say("interrupted: finishing the outer step; interrupt again to end at once");
        let paused = tokio::time::timeout(GRACE, follow.pause()).await;
        let job = follow.job();
        let (done, total) = (job.outer_step, job.total_outer_steps);
        let where_to = match &self.args.state {
            Some(_) => "the same command goes on from there",
            None => "with --state DIR it could go on from there",
        };
        let said = match paused {
            Ok(Ok(())) => format!("interrupted after outer step {done} of {total}; {where_to}"),
            Ok(Err(error)) => format!("interrupted; the job could not be paused: {error}"),
            Err(_) => format!("interrupted; the job did not pause within {} s", GRACE.as_secs()),
        };
        if follow.job().state() == v1::JobState::Paused && done > 0 {
            follow.conclude().await?;
        }
        Err(CliError::Interrupted(said))
    }
}
