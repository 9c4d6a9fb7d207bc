//! The event stream of a job: stored events after a cursor, then new ones, until the job is over.

use std::collections::VecDeque;

use futures_util::Stream;
use lookbehind_common::ids::JobId;
use lookbehind_proto::v1;
use lookbehind_proto::v1::watch_job_response::Event;
use tonic::Status;

use super::files::off_runtime;
use super::views::{self, IntoStatus};
use crate::runtime::{Shared, Subscription};
use crate::state::JobRecord;
use crate::state::event::CallError;
use crate::store::StoreError;
use crate::store::journal::{self, Reader};

/// Most events that are read at once.
const BATCH: usize = 256;

/// The position of a watcher.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// Revision of the last notice that it received.
    pub(super) revision: u64,
    /// Number of the last outer step that it received.
    pub(super) outer_step: u64,
}

struct Watcher {
    shared: Shared,
    job: JobId,
    cursor: Cursor,
    reader: Reader,
    subscription: Subscription,
    cuts: u64,
    /// Events that have been read but not yet sent.
    pending: VecDeque<v1::WatchJobResponse>,
    /// The newest revision of the job when the watch began.
    known: u64,
    /// Whether the last event of the job has been read.
    over: bool,
    /// Whether the cursor was at the job's last notice from the beginning. Then only outer steps can follow.
    no_more_notices: bool,
}

/// All events of the job in `record`, which was asked for after subscribing. The caller must limit the number of watchers itself.
pub(crate) fn from_the_beginning(
    shared: Shared,
    subscription: Subscription,
    record: &JobRecord,
) -> impl Stream<Item = Result<v1::WatchJobResponse, Status>> + use<> {
    stream(shared, subscription, record, Cursor { revision: 0, outer_step: 0 })
}

/// The events of the job in `record` after a cursor.
pub(super) fn stream(
    shared: Shared,
    subscription: Subscription,
    record: &JobRecord,
    mut cursor: Cursor,
) -> impl Stream<Item = Result<v1::WatchJobResponse, Status>> + use<> {
    let job = record.id.clone();
    cursor.revision = cursor.revision.min(record.revision);
    let no_more_notices = record.state.is_terminal() && cursor.revision == record.revision;
    let reader = Reader::new(journal::path(&shared.store.job_folder(&job)));
    let watcher = Watcher {
        shared,
        job,
        cursor,
        reader,
        subscription,
        cuts: 0,
        pending: VecDeque::new(),
        known: record.revision,
        over: false,
        no_more_notices,
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
            let idle = self.pending.is_empty() && !self.over;
            if idle && self.subscription.marks.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Reads new events. If the journal was truncated since the last call, reading starts again at its beginning.
    fn look(mut self) -> Result<Self, Status> {
        // Marked as seen before reading, so that an event that is stored during the read wakes the watcher again.
        let mark = *self.subscription.marks.borrow_and_update();
        if mark.deleted {
            return Err(CallError::NotFound(self.job).into_status());
        }
        if mark.cuts != self.cuts {
            self.cuts = mark.cuts;
            self.reader.rewind();
        }
        let read = self.read(mark.writing);
        // What was read of a job that was deleted meanwhile may be incomplete: the next look tells.
        if !self.subscription.marks.borrow().deleted {
            read.map_err(IntoStatus::into_status)?;
        }
        Ok(self)
    }

    /// Reads new notices and outer steps, merged in the order in which they happened. A terminal notice waits for its
    /// last outer steps while the journal is still being written.
    fn read(&mut self, writing: bool) -> Result<(), StoreError> {
        let notices = self.shared.store.notices(&self.job, self.cursor.revision, BATCH)?;
        for notice in notices {
            self.read_steps(notice.outer_step)?;
            // A job that was retried has gone on after a terminal notice.
            let is_last = notice.state.is_terminal() && notice.revision >= self.known;
            let is_behind = is_last && self.cursor.outer_step < notice.outer_step;
            if self.pending.len() >= BATCH || (writing && is_behind) {
                return Ok(());
            }
            self.cursor.revision = notice.revision;
            self.over = is_last;
            self.push(Event::Notice(views::notice(&notice)));
        }
        if !self.over {
            let first = self.pending.len();
            self.read_steps(u64::MAX)?;
            self.put_notices_before_steps(first)?;
            self.over = self.no_more_notices && self.pending.len() < BATCH;
        }
        Ok(())
    }

    /// Puts notices that were stored while outer steps were read before those that followed them: training begins with a
    /// notice, which says of how many outer steps. `first` is the first of the steps among the pending events.
    fn put_notices_before_steps(&mut self, first: usize) -> Result<(), StoreError> {
        if first == self.pending.len() {
            return Ok(());
        }
        for notice in self.shared.store.notices(&self.job, self.cursor.revision, BATCH)? {
            let follows = |event: &v1::WatchJobResponse| match &event.event {
                Some(Event::Step(step)) => step.outer_step > notice.outer_step,
                Some(Event::Notice(_)) | None => false,
            };
            let place = self.pending.iter().skip(first).position(follows);
            let Some(place) = place.filter(|_| !notice.state.is_terminal()) else { break };
            self.cursor.revision = notice.revision;
            let event = Some(Event::Notice(views::notice(&notice)));
            self.pending.insert(first + place, v1::WatchJobResponse { event });
        }
        Ok(())
    }

    /// Reads outer steps up to `until` or until the batch is full.
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
