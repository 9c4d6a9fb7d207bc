//! Follows a job for its user: every event goes to the terminal or the reading program, to the output folder and into
//! the summary.

use std::time::Duration;

use lookbehind_common::job::{JobSpec, WhichCheckpoint};
use lookbehind_proto::json::{NoticeJson, StepJson, state_name};
use lookbehind_proto::v1;
use lookbehind_proto::wire;

use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::line::Line;
use crate::output::Output;
use crate::output::model::{Download, Model};
use crate::output::summary::{Summary, Tally};
use crate::progress::Progress;
use crate::report;
use crate::text::is_over;
use crate::watch::{Event, Watch};

/// After this time without an event, a job is asked what it waits for.
const ASK: Duration = Duration::from_secs(2);

/// A job that is being followed.
pub struct Follow {
    console: Console,
    client: Client,
    job: v1::Job,
    watch: Watch,
    progress: Progress,
    tally: Tally,
    output: Option<Output>,
}

impl Follow {
    /// Follows `job` from its first event. With an output folder, its metrics are written while it runs.
    pub fn new(console: &Console, client: &Client, job: v1::Job, output: Option<Output>) -> Self {
        let mut progress = Progress::new(console);
        progress.set_total(job.total_outer_steps);
        Self {
            console: console.clone(),
            client: client.clone(),
            watch: Watch::new(client.clone(), &job.id),
            progress,
            tally: Tally::default(),
            output,
            job,
        }
    }

    /// Processes events until the job is over. Dropping the future loses no event.
    ///
    /// # Errors
    /// If the coordinator refuses or cannot be reached, or an output cannot be written.
    pub async fn until_over(&mut self) -> Result<(), CliError> {
        while !self.next().await? {}
        Ok(())
    }

    /// Requests a pause and processes events until the job is paused or over. Dropping the future loses no event.
    ///
    /// # Errors
    /// As [`Self::until_over`].
    pub async fn pause(&mut self) -> Result<(), CliError> {
        let asked = self.client.pause(&self.job.id).await?;
        let revision = asked.revision;
        if asked.revision >= self.job.revision {
            self.job = asked;
        }
        loop {
            // The state from the answer to the call may be ahead of the events: wait for the outer steps before it.
            let reported = self.tally.outer_steps() >= self.job.outer_step;
            let paused = self.job.state() == v1::JobState::Paused && self.job.revision >= revision;
            if (paused && reported) || self.next().await? {
                return Ok(());
            }
        }
    }

    /// The next event. A job to which nothing happens is asked what it waits for.
    async fn event(&mut self) -> Result<Event, CliError> {
        loop {
            let may_wait = !self.console.json() && !is_over(self.job.state());
            tokio::select! {
                biased;
                event = self.watch.next() => return event,
                () = tokio::time::sleep(ASK), if may_wait => {}
            }
            // Without an answer there is nothing to say: the watcher tells that the connection is lost.
            if let Ok(job) = self.client.job_by_id(&self.job.id).await {
                self.progress.waits(&job);
            }
        }
    }

    /// Processes one event and returns whether it was the last. Dropping the future loses no event.
    ///
    /// # Errors
    /// As [`Self::until_over`].
    pub async fn next(&mut self) -> Result<bool, CliError> {
        match self.event().await? {
            Event::Notice(notice) => self.notice(&notice)?,
            Event::Step(step) => self.step(&step)?,
            Event::Lost(reason) => self.progress.lost(&reason),
            Event::Over(job) => {
                self.job = *job;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn notice(&mut self, notice: &v1::JobNotice) -> Result<(), CliError> {
        if self.console.json() {
            self.console.object(&Line::Notice(NoticeJson::from(notice)))?;
        }
        self.progress.notice(&self.job.id, notice);
        if let Some(output) = &mut self.output {
            output.notice(notice);
        }
        if notice.revision >= self.job.revision {
            self.job.revision = notice.revision;
            self.job.state = notice.state;
            self.job.message.clone_from(&notice.message);
            self.job.outer_step = notice.outer_step;
            self.job.total_outer_steps = notice.total_outer_steps;
        }
        Ok(())
    }

    fn step(&mut self, step: &v1::OuterStepMetrics) -> Result<(), CliError> {
        if self.console.json() {
            self.console.object(&Line::Step(Box::new(StepJson::from(step))))?;
        }
        if let Some(output) = &mut self.output {
            output.step(step)?;
        }
        self.tally.step(step);
        self.progress.step(step);
        Ok(())
    }

    /// The job as far as it is known from the processed events.
    pub fn job(&self) -> &v1::Job {
        &self.job
    }

    /// Finishes: fetches the model of a succeeded or paused job, and the best one if the job keeps it, writes the summary and prints the results.
    ///
    /// # Errors
    /// If the job failed or was cancelled, the model cannot be fetched, or an output cannot be written.
    pub async fn conclude(mut self) -> Result<(), CliError> {
        self.progress.close();
        let checkpoint = match self.job.state() {
            v1::JobState::Succeeded => Some(Some(WhichCheckpoint::OuterStep(self.job.outer_step))),
            v1::JobState::Paused => Some(None),
            _ => None,
        };
        let model = match (&self.output, checkpoint) {
            (Some(output), Some(which)) => {
                let model =
                    Download::open(&self.client, &self.job.id, which).await?.save(&output.model()).await?;
                // What was watched does not say which evaluation is the best one.
                self.job.results = self.client.job_by_id(&self.job.id).await?.results;
                if self.job.results.is_some_and(|results| results.best.is_some()) {
                    let best =
                        Download::open(&self.client, &self.job.id, Some(WhichCheckpoint::BEST)).await?;
                    best.save(&output.best_model()).await?;
                }
                Some(model)
            }
            _ => None,
        };
        conclude(&self.console, &self.job, &self.tally, self.output.as_ref(), model.as_ref())?;
        match self.job.state() {
            v1::JobState::Failed | v1::JobState::Cancelled => Err(CliError::JobEnded {
                id: self.job.id.clone(),
                state: state_name(self.job.state()),
                message: self.job.message.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// Writes the summary of the gathered outer steps and prints the results.
///
/// # Errors
/// If the model is not that of the last outer step, or an output cannot be written.
pub fn conclude(
    console: &Console,
    job: &v1::Job,
    tally: &Tally,
    output: Option<&Output>,
    model: Option<&Model>,
) -> Result<(), CliError> {
    let mut summary = summary_of(job, tally);
    if let Some(model) = model {
        summary.set_model(job, model)?;
    }
    if let Some(output) = output {
        output.finish(&summary)?;
    }
    if console.json() {
        return console.object(&Line::Summary(&summary));
    }
    report::summary(&summary, output.map(Output::folder)).iter().try_for_each(|line| console.result(line))
}

/// The summary of the gathered outer steps of a job, without a model.
pub fn summary_of(job: &v1::Job, tally: &Tally) -> Summary {
    let spec = job.spec.as_ref().and_then(meaning);
    tally.summary(job, spec.as_ref())
}

/// The validated specification in a message; `None` if it is invalid.
fn meaning(spec: &v1::JobSpec) -> Option<JobSpec> {
    wire::from_proto(spec).ok()?.validate().ok()
}

#[cfg(test)]
mod tests;
