//! A model of the coordinator's database thread and file thread: each does its tasks in order, each task takes time,
//! and the process may crash before or after anything becomes durable.

use lookbehind_common::ids::JobId;
use lookbehind_coordinator::state::JobChange;
use lookbehind_coordinator::state::command::{Source, StartFrom};
use lookbehind_coordinator::state::event::{Activation, CallError, Event, JobView};
use lookbehind_coordinator::training::{Snapshot, Start, StartError, Trainer};

use crate::agenda::ScheduledEvent;
use crate::dice::{Micros, millis, seconds};
use crate::world::World;

/// Tasks of the database thread.
pub(crate) enum DatabaseTask {
    Put(Box<JobChange>),
    Delete(JobId),
    Reply(usize, Box<Result<JobView, CallError>>),
    Done(usize, Result<(), CallError>),
}

/// Tasks of the file thread.
pub(crate) enum FileTask {
    Record,
    Checkpoint(JobId, Activation, Box<Snapshot>),
    Load(JobId, Activation, Box<StartFrom>),
    Close,
}

impl World {
    pub(crate) fn database_task(&mut self, task: DatabaseTask) {
        let Some(process) = self.process.as_mut() else { return };
        process.database.push_back(task);
        if process.database.len() == 1 {
            self.begin_database_task();
        }
    }

    fn begin_database_task(&mut self) {
        let Some(process) = self.process.as_ref() else { return };
        let took = match process.database.front() {
            Some(DatabaseTask::Put(_) | DatabaseTask::Delete(_)) => self.disk_time(millis(4)),
            Some(DatabaseTask::Reply(..) | DatabaseTask::Done(..)) => 1,
            None => return,
        };
        self.agenda.add(self.now + took, ScheduledEvent::Database(self.incarnation));
    }

    /// The duration of a disk access. A slow disk takes up to a thousand times as long.
    fn disk_time(&mut self, usual: Micros) -> Micros {
        let slow = !self.healed && self.now < self.disk.slow_until;
        let longest = if slow { usual * 1000 } else { usual };
        self.dice.between(usual / 10, longest)
    }

    pub(crate) fn database_done(&mut self, incarnation: u64) {
        if !self.is_running(incarnation) {
            return;
        }
        let Some(task) = self.process.as_mut().and_then(|process| process.database.pop_front()) else {
            return;
        };
        match task {
            DatabaseTask::Put(change) => {
                if self.disk.transition() {
                    return self.crash_soon();
                }
                let JobChange { record, spec, .. } = *change;
                self.invariants.acknowledged.stored(&self.disk, &record);
                self.invariants.terminal.stored(&self.disk, &record);
                self.invariants.digest.stored(&self.expected, &record);
                if let Some(spec) = spec {
                    self.disk.specs.insert(record.id.clone(), spec.to_vec());
                }
                self.disk.records.insert(record.id.clone(), record);
                if self.disk.transition() {
                    return self.crash_soon();
                }
            }
            DatabaseTask::Delete(job) => {
                if self.disk.transition() {
                    return self.crash_soon();
                }
                self.invariants.terminal.deleted(&self.disk, &job);
                self.disk.delete(&job);
                if self.disk.transition() {
                    return self.crash_soon();
                }
            }
            DatabaseTask::Reply(request, result) => self.user_answered(request, *result),
            DatabaseTask::Done(request, result) => self.deletion_answered(request, result),
        }
        self.invariants.collect();
        self.begin_database_task();
    }

    fn crash_soon(&mut self) {
        let down = self.dice.between(millis(100), seconds(5));
        self.crash(down);
    }

    pub(crate) fn file_task(&mut self, task: FileTask) {
        let Some(process) = self.process.as_mut() else { return };
        process.files.push_back(task);
        if process.files.len() == 1 {
            self.begin_file_task();
        }
    }

    fn begin_file_task(&mut self) {
        let Some(process) = self.process.as_ref() else { return };
        let took = match process.files.front() {
            Some(FileTask::Checkpoint(..)) => self.disk_time(millis(20)),
            Some(FileTask::Load(..)) => self.disk_time(millis(5)),
            Some(FileTask::Record | FileTask::Close) => 10,
            None => return,
        };
        self.agenda.add(self.now + took, ScheduledEvent::Files(self.incarnation));
    }

    pub(crate) fn files_done(&mut self, incarnation: u64) {
        if !self.is_running(incarnation) {
            return;
        }
        let Some(task) = self.process.as_mut().and_then(|process| process.files.pop_front()) else { return };
        let event = match task {
            FileTask::Record | FileTask::Close => None,
            FileTask::Load(job, activation, start) => {
                let result = self.load(&job, &start);
                Some(Event::Loaded { job, activation, result })
            }
            FileTask::Checkpoint(job, activation, snapshot) => {
                if self.disk.transition() {
                    return self.crash_soon();
                }
                self.invariants.memory.written(&job, activation);
                let outer_step = snapshot.position.outer_step;
                if !self.healed && self.now < self.disk.full_until {
                    let result = Err("no space".into());
                    let refused = Event::Checkpointed { job, activation, outer_step, result };
                    return self.file_task_done(incarnation, Some(refused));
                }
                let digest = self.invariants.digest.durable(&self.expected, &snapshot);
                self.disk.store(*snapshot);
                if self.disk.transition() {
                    return self.crash_soon();
                }
                Some(Event::Checkpointed { job, activation, outer_step, result: Ok(digest) })
            }
        };
        self.file_task_done(incarnation, event);
    }

    fn file_task_done(&mut self, incarnation: u64, event: Option<Event>) {
        if let Some(event) = event {
            let later = self.dice.between(1, millis(2));
            self.agenda.add(self.now + later, ScheduledEvent::Effect(incarnation, Box::new(event)));
        }
        self.begin_file_task();
    }

    fn load(&self, job: &JobId, start: &StartFrom) -> Result<Start, StartError> {
        let missing = || StartError(format!("job {job} has no checkpoint"));
        match start.source {
            Source::Upload(_) | Source::Job(_) => Err(missing()),
            Source::Checkpoint => {
                let newest = self.disk.newest(job).ok_or_else(missing)?;
                let (state, selection) = (newest.state.clone(), newest.selection);
                let trainer = Trainer::restore(&start.spec, &start.description, state, newest.position)?;
                Ok(Start { trainer: Box::new(trainer), recorded: 0, selection })
            }
        }
    }
}
