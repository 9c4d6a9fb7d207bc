//! The events of a job in order and each exactly once, across lost connections and restarts of the coordinator.

use std::time::{Duration, Instant};

use lookbehind_proto::json::TimeJson;
use lookbehind_proto::v1;
use lookbehind_proto::v1::watch_job_response::Event as Wire;
use tonic::{Code, Status, Streaming};

use crate::client::{Client, is_connection};
use crate::error::CliError;
use crate::text::is_over;

/// First and longest wait between two attempts to reconnect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long attempts to reconnect continue.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// How often the stream is reopened if it ended for a finished job before all its outer steps had arrived.
const SHORT_ENDS: u32 = 8;

/// An event of a watched job.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The job changed.
    Notice(v1::JobNotice),
    /// An outer step was completed.
    Step(Box<v1::OuterStepMetrics>),
    /// The connection was lost, for this reason, and is being restored.
    Lost(String),
    /// The job is over and all its events have been returned. This is the last event.
    Over(Box<v1::Job>),
}

/// A watcher with its cursor, which ensures that no event is returned twice.
pub struct Watch {
    client: Client,
    job_id: String,
    after_revision: u64,
    after_outer_step: u64,
    stream: Option<Streaming<v1::WatchJobResponse>>,
    outage: Option<Outage>,
    short_ends: u32,
}

/// A period without connection.
#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    wait: Duration,
}

impl Watch {
    /// Watches a job from its first event.
    pub fn new(client: Client, job_id: &str) -> Self {
        Self {
            client,
            job_id: job_id.to_owned(),
            after_revision: 0,
            after_outer_step: 0,
            stream: None,
            outage: None,
            short_ends: 0,
        }
    }

    /// The next event. Dropping the future loses no event.
    ///
    /// # Errors
    /// If the coordinator refuses, or cannot be reached for half an hour.
    pub async fn next(&mut self) -> Result<Event, CliError> {
        loop {
            let advance = match &mut self.stream {
                None => self.open().await?,
                Some(stream) => match stream.message().await {
                    Ok(Some(message)) => self.take(message)?,
                    Ok(None) => self.ended().await?,
                    Err(status) => self.failed(status)?,
                },
            };
            if let Some(event) = advance {
                return Ok(event);
            }
        }
    }

    /// Opens the stream, after a wait if the last attempt failed.
    async fn open(&mut self) -> Result<Option<Event>, CliError> {
        tokio::time::sleep(self.outage.map_or(Duration::ZERO, |outage| outage.wait)).await;
        match self.client.events(self.cursor()).await {
            Ok(stream) => {
                self.stream = Some(stream);
                Ok(None)
            }
            Err(status) => self.failed(status),
        }
    }

    fn cursor(&self) -> v1::WatchJobRequest {
        v1::WatchJobRequest {
            job_id: self.job_id.clone(),
            after_revision: self.after_revision,
            after_outer_step: self.after_outer_step,
        }
    }

    /// Advances the cursor. `None` for events that were returned before or that this version does not know.
    fn take(&mut self, message: v1::WatchJobResponse) -> Result<Option<Event>, CliError> {
        self.outage = None;
        match message.event {
            None => Ok(None),
            Some(Wire::Notice(notice)) => {
                let new = notice.revision > self.after_revision;
                self.after_revision = self.after_revision.max(notice.revision);
                Ok(new.then_some(Event::Notice(notice)))
            }
            Some(Wire::Step(step)) => {
                if step.time.is_none() {
                    let missing = "the times of an outer step";
                    return Err(CliError::Malformed { what: "watch".to_owned(), missing });
                }
                let new = step.outer_step > self.after_outer_step;
                self.after_outer_step = self.after_outer_step.max(step.outer_step);
                Ok(new.then(|| Event::Step(Box::new(step))))
            }
        }
    }

    /// The stream ended normally: the job is over, or the coordinator is shutting down.
    async fn ended(&mut self) -> Result<Option<Event>, CliError> {
        match self.client.job_by_id(&self.job_id).await {
            Ok(job) if is_over(job.state()) => self.over(job),
            Ok(_) => self.failed(Status::unavailable("the stream ended before the job was over")),
            Err(CliError::Unreachable { reason, .. } | CliError::NotNow { message: reason, .. }) => {
                self.failed(Status::unavailable(reason))
            }
            Err(error) => Err(error),
        }
    }

    /// The job is over. Reopens the stream if some of its outer steps have not arrived.
    fn over(&mut self, job: v1::Job) -> Result<Option<Event>, CliError> {
        if self.after_outer_step >= job.outer_step {
            return Ok(Some(Event::Over(Box::new(job))));
        }
        let message =
            format!("received {} outer steps, the job has {}", self.after_outer_step, job.outer_step);
        self.short_ends += 1;
        if self.short_ends > SHORT_ENDS {
            return Err(CliError::Refused { what: "watch".to_owned(), message });
        }
        self.failed(Status::unavailable(message))
    }

    /// Handles a failure. Only the first one of an outage becomes an event.
    fn failed(&mut self, status: Status) -> Result<Option<Event>, CliError> {
        self.stream = None;
        if is_final(&status) {
            return Err(self.client.error("watch", &status));
        }
        let reason = status.message().to_owned();
        let Some(outage) = &mut self.outage else {
            self.outage = Some(Outage { since: Instant::now(), wait: BACKOFF.0 });
            return Ok(Some(Event::Lost(reason)));
        };
        outage.wait = (outage.wait * 2).min(BACKOFF.1);
        if outage.since.elapsed() < PATIENCE {
            return Ok(None);
        }
        let (url, job) = (self.client.url().to_owned(), self.job_id.clone());
        Err(CliError::Lost { url, job, seconds: PATIENCE.as_secs(), reason })
    }
}

/// The times of an outer step that [`Watch`] returned.
///
/// # Panics
/// If the step has no times. [`Watch`] refuses such steps when they arrive.
#[expect(clippy::expect_used, reason = "`Watch` refuses steps without times where they arrive")]
pub fn time_of(step: &v1::OuterStepMetrics) -> TimeJson {
    step.time.as_ref().map(TimeJson::from).expect("an outer step that was taken has its times")
}

/// Whether an error is permanent, so that another attempt cannot succeed.
fn is_final(status: &Status) -> bool {
    let refusal = matches!(
        status.code(),
        Code::NotFound
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
    );
    refusal && !is_connection(status)
}

#[cfg(test)]
mod tests;
