//! Watching a job: what is stored behind the cursor, then what comes, until the job is over.

use std::collections::VecDeque;

use futures_util::Stream;
use lookbehind_common::ids::JobId;
use lookbehind_proto::v1;
use lookbehind_proto::v1::watch_job_response::Event;
use tokio::sync::watch::Receiver;
use tonic::Status;

use super::files::off_runtime;
use super::limits::Place;
use super::views;
use crate::runtime::{Feeds, Mark, Shared};
use crate::state::JobRecord;
use crate::store::StoreError;
use crate::store::journal::{self, Reader};

/// Events that are read at a time.
const BATCH: usize = 256;

/// What a watcher has seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// Newest notice.
    pub(super) revision: u64,
    /// Outer steps.
    pub(super) outer_step: u64,
}

struct Watcher {
    shared: Shared,
    job: JobId,
    cursor: Cursor,
    reader: Reader,
    marks: Receiver<Mark>,
    cuts: u64,
    /// Read but not yet sent.
    pending: VecDeque<v1::WatchJobResponse>,
    /// Whether the last event of the job has been read.
    over: bool,
    /// Whether the cursor was behind the job's last notice from the beginning: only steps can be left.
    no_more_notices: bool,
    _place: Option<Place>,
}

/// All events of a job, as it stands in `record`. Whoever asks sees to it that there are not too many watchers.
pub(crate) fn from_the_beginning(
    shared: Shared,
    record: &JobRecord,
) -> impl Stream<Item = Result<v1::WatchJobResponse, Status>> + use<> {
    follow(shared, record, Cursor { revision: 0, outer_step: 0 }, None)
}

/// The events of a job, as it stands in `record`, behind a cursor.
pub(super) fn stream(
    shared: Shared,
    record: &JobRecord,
    cursor: Cursor,
    place: Place,
) -> impl Stream<Item = Result<v1::WatchJobResponse, Status>> + use<> {
    follow(shared, record, cursor, Some(place))
}

fn follow(
    shared: Shared,
    record: &JobRecord,
    mut cursor: Cursor,
    place: Option<Place>,
) -> impl Stream<Item = Result<v1::WatchJobResponse, Status>> + use<> {
    let job = record.id.clone();
    cursor.revision = cursor.revision.min(record.revision);
    let no_more_notices = record.state.is_terminal() && cursor.revision == record.revision;
    let reader = Reader::new(journal::path(&shared.store.job_folder(&job)));
    let marks = Feeds::subscribe(&shared.feeds, &job);
    let watcher = Watcher {
        shared,
        job,
        cursor,
        reader,
        marks,
        cuts: 0,
        pending: VecDeque::new(),
        over: false,
        no_more_notices,
        _place: place,
    };
    futures_util::stream::try_unfold(watcher, Watcher::next)
}

impl Watcher {
    async fn next(mut self) -> Result<Option<(v1::WatchJobResponse, Self)>, Status> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some((event, self)));
            }
            if self.over {
                return Ok(None);
            }
            self = off_runtime(move || self.look()).await?;
            if self.pending.is_empty() && !self.over && self.marks.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Looks for what is new.
    fn look(mut self) -> Result<Self, StoreError> {
        let mark = *self.marks.borrow_and_update();
        if mark.cuts != self.cuts {
            self.cuts = mark.cuts;
            self.reader.rewind();
        }
        self.read(mark.writing)?;
        Ok(self)
    }

    /// Reads what is new: notices and steps, merged in the order in which they happened. While the journal is being
    /// written, a notice waits for the steps that it stands behind.
    fn read(&mut self, writing: bool) -> Result<(), StoreError> {
        let notices = self.shared.store.notices(&self.job, self.cursor.revision, BATCH)?;
        for notice in notices {
            self.read_steps(notice.outer_step)?;
            let is_behind = notice.state.is_terminal() && self.cursor.outer_step < notice.outer_step;
            if self.pending.len() >= BATCH || (writing && is_behind) {
                return Ok(());
            }
            self.cursor.revision = notice.revision;
            self.over = notice.state.is_terminal();
            self.push(Event::Notice(views::notice(&notice)));
        }
        if !self.over {
            self.read_steps(u64::MAX)?;
            self.over = self.no_more_notices && self.pending.len() < BATCH;
        }
        Ok(())
    }

    /// Reads steps up to `until`, as many as a batch holds.
    fn read_steps(&mut self, until: u64) -> Result<(), StoreError> {
        while self.cursor.outer_step < until && self.pending.len() < BATCH {
            let Some(step) = self.reader.next_step()? else { break };
            if step.outer_step > self.cursor.outer_step {
                self.cursor.outer_step = step.outer_step;
                self.push(Event::Step(step));
            }
        }
        Ok(())
    }

    fn push(&mut self, event: Event) {
        self.pending.push_back(v1::WatchJobResponse { event: Some(event) });
    }
}
