//! The thread that writes and reads the coordinator's larger files: step journals, checkpoints, uploaded weights.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;
use lookbehind_common::model_file;
use lookbehind_common::selection::Selection;
use lookbehind_proto::v1::OuterStepMetrics;
use tokio::sync::mpsc;

use super::storage::Storage;
use super::{Feeds, Shared};
use crate::observe::Observer;
use crate::state::InitialCheckpoint;
use crate::state::command::{Source, StartFrom};
use crate::state::event::{Activation, Event, ReplayDifference};
use crate::store::journal::{Journal, Recorded};
use crate::store::{Store, StoreError, checkpoint, uploads};
use crate::training::{Snapshot, Start, StartError, Trainer};

/// Capacity of the thread's queue. Nearly all tasks are records of outer steps of a few hundred bytes: with this many,
/// even the fastest jobs can continue for a while when the thread is busy with a checkpoint.
pub(super) const TASKS: usize = 1 << 16;

/// Maximum size in bytes of the header of a file of initial weights.
const MAX_INIT_HEADER: u64 = 100 << 20;

/// Tasks of the thread.
#[derive(Debug)]
pub(super) enum FileTask {
    Record {
        job: JobId,
        activation: Activation,
        metrics: Box<OuterStepMetrics>,
    },
    Checkpoint {
        job: JobId,
        activation: Activation,
        snapshot: Box<Snapshot>,
    },
    Load {
        job: JobId,
        activation: Activation,
        start: Box<StartFrom>,
    },
    /// Keep the checkpoint that a job starts from among its files.
    Adopt(JobId, InitialCheckpoint),
    /// Determine the size of the job's files.
    Measure(JobId),
    /// The job is not active any more: close its journal.
    Close(JobId),
    /// The job was deleted: remove its files.
    Remove(JobId),
}

/// The open journal of an active job.
struct Open {
    journal: Journal,
    /// Records cut off the journal: the outer steps after the checkpoint, which are computed again.
    replayed: BTreeMap<u64, Recorded>,
}

impl Open {
    /// Compares a step with its earlier record, if there is one. Only steps of the same compute class must agree.
    fn compare(&mut self, step: &OuterStepMetrics) -> Option<ReplayDifference> {
        let recorded = self.replayed.remove(&step.outer_step)?;
        let differs = recorded.compute_class == step.compute_class && recorded.digest != step.digest;
        differs.then(|| ReplayDifference {
            outer_step: step.outer_step,
            recorded: recorded.digest,
            found: step.digest.clone(),
        })
    }
}

/// State of the thread.
struct Files {
    store: Arc<Store>,
    feeds: Arc<Feeds>,
    observer: Arc<Observer>,
    storage: Storage,
    effects: mpsc::Sender<Event>,
    open: HashMap<JobId, Open>,
}

/// Starts the thread, which first removes the files of `removals`; it ends when all senders of its queue are dropped.
pub(super) fn start(
    shared: &Shared,
    storage: Storage,
    effects: mpsc::Sender<Event>,
    removals: Vec<JobId>,
) -> std::io::Result<(mpsc::Sender<FileTask>, JoinHandle<()>)> {
    let (sender, mut tasks) = mpsc::channel(TASKS);
    let mut files = Files {
        store: Arc::clone(&shared.store),
        feeds: Arc::clone(&shared.feeds),
        observer: Arc::clone(&shared.observer),
        storage,
        effects,
        open: HashMap::new(),
    };
    let thread = std::thread::Builder::new().name("files".into()).spawn(move || {
        // First, because a new job may draw the identity of a deleted one.
        removals.into_iter().for_each(|job| files.carry_out(FileTask::Remove(job)));
        while let Some(task) = tasks.blocking_recv() {
            files.carry_out(task);
        }
    })?;
    Ok((sender, thread))
}

impl Files {
    fn carry_out(&mut self, task: FileTask) {
        match task {
            FileTask::Record { job, activation, metrics } => {
                if let Some(difference) = self.record(&job, &metrics) {
                    self.tell(Event::ReplayDiffers { job, activation, difference });
                }
            }
            FileTask::Checkpoint { job, activation, snapshot } => {
                let outer_step = snapshot.position.outer_step;
                let begun = Instant::now();
                let written = self.checkpoint(&job, &snapshot);
                // The copy of the weights is freed before the owner may send the next snapshot.
                drop(snapshot);
                match &written {
                    Ok(_) => {
                        let size = checkpoint::size(&self.store.job_folder(&job), outer_step);
                        self.observer.metrics.checkpoint_written(begun.elapsed().as_secs_f64(), size);
                    }
                    Err(_) => self.observer.metrics.checkpoint_failed(),
                }
                let result = written.map_err(|error| error.to_string());
                self.tell(Event::Checkpointed { job, activation, outer_step, result });
            }
            FileTask::Adopt(job, InitialCheckpoint { job: other, outer_step, .. }) => {
                let (source, target) = (self.store.job_folder(&other), self.store.job_folder(&job));
                if let Err(error) = checkpoint::adopt(&source, outer_step, &target) {
                    tracing::warn!(%job, %error, "the checkpoint that a job starts from stays with the other job only");
                }
            }
            FileTask::Measure(job) => match self.store.file_bytes(&job) {
                Ok(bytes) => self.tell(Event::Measured { job, bytes }),
                Err(error) => tracing::warn!(%job, %error, "the files of a job could not be measured"),
            },
            FileTask::Load { job, activation, start } => {
                let result = self.load(&job, &start).map_err(|error| StartError(error.to_string()));
                self.tell(Event::Loaded { job, activation, result });
            }
            FileTask::Close(job) => {
                if let Some(mut open) = self.open.remove(&job)
                    && let Err(error) = open.journal.sync()
                {
                    self.storage.failed(&error);
                    tracing::error!(%job, %error, "the last outer steps of the job's journal could not be written");
                }
                self.feeds.closed(&job);
            }
            FileTask::Remove(job) => {
                if let Err(error) = self.store.remove_files(&job) {
                    tracing::error!(%job, %error, "the files of a deleted job could not be removed; the next start tries it again");
                    // If it was the database, the store has noted it.
                    self.storage.publish();
                }
            }
        }
    }

    fn tell(&self, event: Event) {
        // An error means that the owner has ended with the process.
        let _ = self.effects.blocking_send(event);
    }

    fn record(&mut self, job: &JobId, metrics: &OuterStepMetrics) -> Option<ReplayDifference> {
        let open = self.open.get_mut(job)?;
        let difference = open.compare(metrics);
        // A record that cannot be written is kept until the next one. Soon there is none: training waits for the disk.
        if self.storage.is_failing() {
            open.journal.keep(metrics);
        } else if let Err(error) = open.journal.append(metrics) {
            self.storage.failed(&error);
        }
        self.feeds.changed(job);
        difference
    }

    /// Writes a checkpoint and returns the digest of its weights.
    fn checkpoint(&mut self, job: &JobId, snapshot: &Snapshot) -> Result<Digest, StoreError> {
        // What room there is, is for what must be stored.
        if let Some(failure) = self.storage.failure() {
            return Err(StoreError::Failing(failure));
        }
        let folder = self.store.job_folder(job);
        if !self.open.contains_key(job) {
            self.open_journal(job, snapshot.position.outer_step)?;
        }
        // First the journal: a durable checkpoint has the records of all its outer steps.
        if let Some(open) = self.open.get_mut(job) {
            open.journal.sync().inspect_err(|error| self.storage.failed(error))?;
        }
        checkpoint::write(&folder, snapshot)
    }

    /// Opens a job's journal and cuts it back to the outer step at which the job starts. Returns the last outer step that
    /// it held.
    fn open_journal(&mut self, job: &JobId, outer_step: u64) -> Result<u64, StoreError> {
        let (journal, replayed) = Journal::open(&self.store.job_folder(job), outer_step)?;
        let recorded = replayed.last_key_value().map_or(outer_step, |(last, _)| *last);
        self.open.insert(job.clone(), Open { journal, replayed });
        self.feeds.cut(job);
        Ok(recorded)
    }

    fn load(&mut self, job: &JobId, start: &StartFrom) -> Result<Start, StoreError> {
        let trainer = match &start.source {
            Source::Checkpoint => return self.load_checkpoint(job, start),
            Source::Upload(digest) => self.load_upload(start, digest)?,
            Source::Job(initial) => self.load_initial(job, start, initial).map_err(in_init)?,
        };
        Ok(Start { trainer: Box::new(trainer), recorded: 0, selection: Selection::default() })
    }

    /// Loads a checkpoint of another job.
    fn load_initial(
        &self,
        job: &JobId,
        start: &StartFrom,
        initial: &InitialCheckpoint,
    ) -> Result<Trainer, StoreError> {
        let (source, target) = (self.store.job_folder(&initial.job), self.store.job_folder(job));
        let StartFrom { spec, description, .. } = start;
        let step = initial.outer_step;
        if !initial.continues {
            let weights = checkpoint::read_initial_weights(&source, step, &target, description)?;
            return Trainer::new(spec, description, weights).map_err(in_init);
        }
        let loaded = checkpoint::read_initial(&source, step, &target, description)?;
        Trainer::restore(spec, description, loaded.state, loaded.manifest.position).map_err(in_init)
    }

    fn load_upload(&self, start: &StartFrom, digest: &Digest) -> Result<Trainer, StoreError> {
        let most = (start.description.layout.elements() * size_of::<f32>()) as u64 + MAX_INIT_HEADER;
        let bytes =
            uploads::read(&self.store.uploads_folder(), digest, most).map_err(|error| match error {
                StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                    in_init(format_args!("no file of digest {digest} was uploaded"))
                }
                other => other,
            })?;
        let weights = model_file::read(&bytes, &start.description.layout).map_err(in_init)?;
        Trainer::new(&start.spec, &start.description, weights).map_err(in_init)
    }

    fn load_checkpoint(&mut self, job: &JobId, start: &StartFrom) -> Result<Start, StoreError> {
        let folder = self.store.job_folder(job);
        let (loaded, skipped) = checkpoint::newest(&folder, &start.description)?;
        for reason in skipped {
            tracing::warn!(%job, reason, "checkpoint skipped");
        }
        let (position, selection) = (loaded.manifest.position, loaded.manifest.selection.unwrap_or_default());
        let recorded = self.open_journal(job, position.outer_step)?;
        let trainer = Trainer::restore(&start.spec, &start.description, loaded.state, position)
            .map_err(|error| StoreError::damaged(&folder, error))?;
        Ok(Start { trainer: Box::new(trainer), recorded, selection })
    }
}

/// The error of weights that a job cannot start from.
fn in_init(reason: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged { what: "model.init".into(), reason: reason.to_string() }
}
