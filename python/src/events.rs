//! What happens to a job that is followed, event by event. An event is kept until it is taken, so that none is lost with a
//! call that was interrupted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use lookbehind::error::CliError;
use lookbehind::watch::{Event, Watch};
use lookbehind_proto::json::{JobJson, NoticeJson, StepJson};
use pyo3::prelude::*;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::call::{Call, json, locked};
use crate::connection::Connection;
use crate::training::Training;

/// The events of a job.
#[pyclass(frozen, module = "lookbehind._native")]
pub(crate) struct Events {
    followed: Arc<tokio::sync::Mutex<Followed>>,
    lines: Lines,
    stop: CancellationToken,
}

/// What is followed.
enum Followed {
    Job(Box<Watching>),
    Training(Box<Training>),
}

/// A watched job; without a watcher before the first event and after the last.
struct Watching {
    connection: Arc<Connection>,
    id: String,
    watch: Option<Watch>,
    is_over: bool,
}

/// Events that were not taken yet, a line of JSON each.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<VecDeque<String>>>);

/// An event as JSON, in the form of the command line tool.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Notice(NoticeJson),
    Step(Box<StepJson>),
    Lost(String),
    Over(Box<JobJson>),
}

impl Events {
    /// The events of a job of a coordinator.
    pub(crate) fn watch(connection: Arc<Connection>, id: String) -> Self {
        let watching = Watching { connection, id, watch: None, is_over: false };
        Self::new(Followed::Job(Box::new(watching)), Lines::default())
    }

    /// The events of a training, which writes them to `lines`.
    pub(crate) fn of_training(training: Training, lines: Lines) -> Self {
        Self::new(Followed::Training(Box::new(training)), lines)
    }

    fn new(followed: Followed, lines: Lines) -> Self {
        let followed = Arc::new(tokio::sync::Mutex::new(followed));
        Self { followed, lines, stop: CancellationToken::new() }
    }
}

#[pymethods]
impl Events {
    /// Waits until there is an event to take, and answers with something then; with nothing after the last event.
    fn ready(&self) -> Call {
        let (followed, lines, stop) = (Arc::clone(&self.followed), self.lines.clone(), self.stop.clone());
        let wait = async move {
            let mut followed = followed.lock().await;
            while lines.is_empty() {
                if !followed.advance(&lines).await? {
                    return Ok(None);
                }
            }
            Ok(Some("true".to_owned()))
        };
        Call::new(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(None),
                ready = wait => ready,
            }
        })
    }

    /// Takes the next event, if there is one.
    fn take(&self) -> Option<String> {
        locked(&self.lines.0).pop_front()
    }

    /// Ends following. A training ends with it.
    fn close(&self) -> Call {
        self.stop.cancel();
        let followed = Arc::clone(&self.followed);
        Call::silent(async move {
            match &mut *followed.lock().await {
                Followed::Job(watching) => (watching.watch, watching.is_over) = (None, true),
                Followed::Training(training) => training.close().await,
            }
            Ok(())
        })
    }
}

impl Followed {
    /// Waits for the next event and adds it to `lines`. Returns false after the last. Dropping the future loses no event.
    async fn advance(&mut self, lines: &Lines) -> Result<bool, CliError> {
        match self {
            Self::Job(watching) => watching.advance(lines).await,
            Self::Training(training) => training.advance().await,
        }
    }
}

impl Watching {
    async fn advance(&mut self, lines: &Lines) -> Result<bool, CliError> {
        if self.is_over {
            return Ok(false);
        }
        let watch = match &mut self.watch {
            Some(watch) => watch,
            None => self.watch.insert(Watch::new(self.connection.client().await?, &self.id)),
        };
        let told = match watch.next().await {
            Ok(Event::Notice(notice)) => Told::Notice(NoticeJson::from(&notice)),
            Ok(Event::Step(step)) => Told::Step(Box::new(StepJson::from(&*step))),
            Ok(Event::Lost(reason)) => Told::Lost(reason),
            Ok(Event::Over(job)) => {
                self.is_over = true;
                Told::Over(Box::new(JobJson::from(&*job)))
            }
            Err(error) => {
                self.is_over = true;
                return Err(error);
            }
        };
        locked(&lines.0).push_back(json(&told)?);
        Ok(true)
    }
}

impl Lines {
    /// Whether all events were taken.
    pub(crate) fn is_empty(&self) -> bool {
        locked(&self.0).is_empty()
    }
}

/// The console of a training writes whole lines, one at a time.
impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        locked(&self.0).push_back(line.trim_end().to_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
