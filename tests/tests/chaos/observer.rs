//! Watches a job across restarts of its coordinator, by the cursor alone, and requires every outer step exactly once.

use std::time::Duration;

use lookbehind_proto::v1;
use lookbehind_proto::v1::watch_job_response::Event;
use lookbehind_tests::client::{Client, History, within};
use tonic::{Status, Streaming};

/// A watcher with its cursor: nothing at or before it may be received again.
pub(crate) struct Observer {
    client: Client,
    id: String,
    stream: Option<Streaming<v1::WatchJobResponse>>,
    seen: History,
}

impl Observer {
    /// Watches a job from its first event.
    pub(crate) fn new(client: &Client, id: &str) -> Self {
        Self { client: client.clone(), id: id.to_owned(), stream: None, seen: History::default() }
    }

    /// Receives events until the job has finished outer step `outer_step`.
    pub(crate) async fn until_step(&mut self, outer_step: u64) {
        within(&format!("outer step {outer_step}"), async {
            while self.last_step() < outer_step {
                self.take().await;
            }
        })
        .await;
    }

    /// Receives events until the job has ended; returns everything seen.
    pub(crate) async fn finish(mut self) -> History {
        within("the job's end", async {
            while !is_over(self.seen.state()) {
                self.take().await;
            }
        })
        .await;
        self.seen
    }

    fn last_step(&self) -> u64 {
        self.seen.steps.last().map_or(0, |step| step.outer_step)
    }

    fn last_revision(&self) -> u64 {
        self.seen.notices.last().map_or(0, |notice| notice.revision)
    }

    /// Receives an event, or connects again.
    async fn take(&mut self) {
        match self.next().await {
            Ok(Some(Event::Step(step))) => {
                assert_eq!(step.outer_step, self.last_step() + 1, "an outer step is missing or came twice");
                self.seen.steps.push(step);
            }
            Ok(Some(Event::Notice(notice))) => {
                assert!(notice.revision > self.last_revision(), "a notice came twice: {notice:?}");
                self.seen.notices.push(notice);
            }
            Ok(None) | Err(_) => {
                self.stream = None;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Event>, Status> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request = v1::WatchJobRequest {
                    job_id: self.id.clone(),
                    after_revision: self.last_revision(),
                    after_outer_step: self.last_step(),
                };
                let opened = self.client.jobs().watch_job(request).await?;
                self.stream.insert(opened.into_inner())
            }
        };
        Ok(stream.message().await?.and_then(|message| message.event))
    }
}

fn is_over(state: v1::JobState) -> bool {
    matches!(state, v1::JobState::Succeeded | v1::JobState::Failed | v1::JobState::Cancelled)
}
