//! One schedule: a coordinator, its disk, workers, users and a network, driven by virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::blocks::Blocks;
use lookbehind_common::ids::{ClusterId, Incarnation, JobId};
use lookbehind_coordinator::state::{
    CoreConfig, ExchangeRoute, JobState, KeepLimits, Retention, Sharing, WorkerGraceThen,
};

use crate::agenda::{Agenda, Place, ScheduledEvent};
use crate::dice::{Dice, Micros, millis, seconds};
use crate::disk::Disk;
use crate::faults;
use crate::invariants::Invariants;
use crate::jobs::Expected;
use crate::lies::Lie;
use crate::peers::BLOCK;
use crate::process::Process;
use crate::streams::Stream;
use crate::transfers::Upload;
use crate::users::Request;
use crate::worker::Worker;

/// Failure detection of coordinator and workers.
pub(crate) const DETECTION: Micros = seconds(2);
/// Durations of the phase of faults. It should not be much longer than the jobs, or late faults meet no job.
const FAULT_PHASES: [Micros; 4] = [seconds(3), seconds(8), seconds(15), seconds(30)];
/// The lies of the schedules that have a liar, and how an owner may lie.
const LIES: [Lie; 5] = [Lie::Progress, Lie::Description, Lie::Class, Lie::Job, Lie::Sum];
const SUMS: [Lie; 4] = [Lie::Sum, Lie::Twice, Lie::SecretSum, Lie::NotFinite];
/// How long the jobs may take after the faults have ended.
pub(crate) const HEAL_PHASE: Micros = seconds(400);

/// Outcome of a schedule.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Virtual time at its end.
    pub(crate) took: Micros,
    /// Number of events that the core handled.
    pub(crate) events: u64,
    /// The first violation of an invariant.
    pub(crate) violation: Option<String>,
}

/// The state of one schedule.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) now: Micros,
    pub(crate) dice: Dice,
    pub(crate) agenda: Agenda,
    pub(crate) process: Option<Process>,
    pub(crate) incarnation: u64,
    /// The coordinator is frozen until then.
    pub(crate) frozen_until: Micros,
    pub(crate) disk: Disk,
    pub(crate) workers: Vec<Worker>,
    pub(crate) streams: BTreeMap<u64, Stream>,
    pub(crate) streams_made: u64,
    pub(crate) transfers_made: u64,
    /// Recent uploads, for stale messages.
    pub(crate) past: VecDeque<Arc<Upload>>,
    pub(crate) requests: Vec<Request>,
    /// How the coordinator shares workers between users.
    pub(crate) sharing: Sharing,
    /// What is kept of the jobs that have ended.
    pub(crate) retention: Retention,
    pub(crate) expected: BTreeMap<JobId, Rc<Expected>>,
    pub(crate) invariants: Invariants,
    pub(crate) healed: bool,
    /// Until when a worker cannot connect to another one.
    pub(crate) cut_pairs: BTreeMap<(usize, usize), Micros>,
    /// Upper bound of the time that a worker of this schedule needs for a shard.
    pub(crate) slowest_shard: Micros,
    pub(crate) events: u64,
    pub(crate) trace: bool,
}

impl World {
    /// The world of a seed.
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut world = Self {
            seed,
            now: 0,
            dice: Dice::new(seed, 0),
            agenda: Agenda::default(),
            process: None,
            incarnation: 0,
            frozen_until: 0,
            disk: Disk::default(),
            workers: Vec::new(),
            streams: BTreeMap::new(),
            streams_made: 0,
            transfers_made: 0,
            past: VecDeque::new(),
            requests: Vec::new(),
            sharing: Sharing::default(),
            retention: Retention::default(),
            expected: BTreeMap::new(),
            invariants: Invariants::default(),
            healed: false,
            cut_pairs: BTreeMap::new(),
            slowest_shard: 0,
            events: 0,
            trace,
        };
        world.agenda.add(0, ScheduledEvent::Start);
        world.draw_jobs();
        world.draw_sharing();
        world.draw_retention();
        world.slowest_shard = world.dice.pick(&[millis(20), millis(100), millis(400)]);
        // From dice of its own, so that worlds without a liar stay as they were.
        let mut dice = Dice::new(seed, 2);
        let lie = dice.percent(20).then(|| dice.pick(&LIES));
        let drawn = world.dice.between(1, 5);
        // Alone, or against one other, a worker with an invented class cannot be told from an honest one: four workers of
        // two other identities are there from the start of each job.
        let workers = if lie == Some(Lie::Class) { 5 } else { drawn };
        for _ in 0..workers {
            world.add_worker();
        }
        if let Some(lie) = lie {
            let liar = if lie == Lie::Class { 4 } else { dice.below(workers) as usize };
            let lie = if lie == Lie::Sum { dice.pick(&SUMS) } else { lie };
            world.workers[liar].lie = Some(lie);
        }
        if lie == Some(Lie::Class) {
            world.draw_jobs_for(4);
        }
        let phase = world.dice.pick(&FAULT_PHASES);
        let faults = faults::draw(&mut Dice::new(seed, 1), phase, workers);
        for (at, fault) in faults.into_iter().filter(|_| lie != Some(Lie::Class)) {
            world.agenda.add(at, ScheduledEvent::Fault(fault));
        }
        world.draw_regret(phase);
        world.agenda.add(phase, ScheduledEvent::Heal);
        world.agenda.add(phase + HEAL_PHASE, ScheduledEvent::Deadline);
        world
    }

    /// Runs to the end of all jobs or to the first violation.
    pub(crate) fn run(mut self) -> Outcome {
        while self.invariants.violation.is_none()
            && let Some((at, event)) = self.agenda.next()
        {
            self.now = self.now.max(at);
            if let Some(later) = self.suspended_until(&event) {
                self.agenda.add(later, event);
                continue;
            }
            self.happen(event);
            if self.all_over() {
                self.invariants.acknowledged.once(&self.disk);
                self.invariants.terminal.at_end(&self.expected, &self.disk);
                self.invariants.samples.at_end(&self.expected, &self.disk);
                self.invariants.collect();
                break;
            }
        }
        Outcome { took: self.now, events: self.events, violation: self.invariants.violation }
    }

    /// The time until which an event has to wait, if the process in which it happens is frozen.
    fn suspended_until(&self, event: &ScheduledEvent) -> Option<Micros> {
        let until = match event.place() {
            Place::Coordinator => self.frozen_until,
            Place::Worker(worker) => self.workers[worker].frozen_until,
            Place::Elsewhere => 0,
        };
        (until > self.now).then_some(until)
    }

    fn happen(&mut self, event: ScheduledEvent) {
        if self.trace && !matches!(event, ScheduledEvent::Tick(_) | ScheduledEvent::Beat(..)) {
            println!("{:>12} {}", self.now, self.describe(&event));
        }
        match event {
            ScheduledEvent::StreamUp(stream) => self.stream_up(stream),
            ScheduledEvent::StreamDown(stream) => self.stream_down(stream),
            ScheduledEvent::Fetch(fetch) => self.fetch_arrives(*fetch),
            ScheduledEvent::Weights(fetch) => self.weights_fetch(*fetch),
            ScheduledEvent::WeightsLate(worker, start, ticket, range) => {
                self.weights_late(worker, start, ticket, range);
            }
            ScheduledEvent::BulkUp(bulk) => self.bulk_up(bulk),
            ScheduledEvent::BulkDown(worker, start, answer) => self.bulk_down(worker, start, answer),
            ScheduledEvent::Connect(worker, start) => self.connect(worker, start),
            ScheduledEvent::Beat(worker, stream) => self.beat(worker, stream),
            ScheduledEvent::Executed(worker, start, count, step) => {
                self.executed(worker, start, count, *step)
            }
            ScheduledEvent::Tick(incarnation) => self.tick(incarnation),
            ScheduledEvent::Database(incarnation) => self.database_done(incarnation),
            ScheduledEvent::Files(incarnation) => self.files_done(incarnation),
            ScheduledEvent::Effect(incarnation, event) if self.is_running(incarnation) => self.feed(*event),
            ScheduledEvent::Effect(..) => {}
            ScheduledEvent::Start => self.start_coordinator(),
            ScheduledEvent::GraceOver(incarnation) if self.is_running(incarnation) => self.crash(seconds(1)),
            ScheduledEvent::GraceOver(_) => {}
            ScheduledEvent::Fault(fault) => self.strike(fault),
            ScheduledEvent::Users => self.users_act(),
            ScheduledEvent::Revive(worker) => self.revive(worker),
            ScheduledEvent::Heal => self.heal(),
            ScheduledEvent::Deadline => {
                let states = self.disk.states();
                self.invariants.progress.deadline(&states);
                self.invariants.collect();
            }
        }
    }

    fn describe(&self, event: &ScheduledEvent) -> String {
        let mut text = match event {
            ScheduledEvent::StreamUp(id) => {
                format!("up {id} {:?}", self.streams.get(id).and_then(|stream| stream.up.front()))
            }
            ScheduledEvent::StreamDown(id) => {
                format!("down {id} {:?}", self.streams.get(id).and_then(|stream| stream.down.front()))
            }
            other => format!("{other:?}"),
        };
        text.truncate(text.char_indices().nth(240).map_or(text.len(), |(at, _)| at));
        text
    }

    /// Whether the coordinator of this incarnation runs.
    pub(crate) fn is_running(&self, incarnation: u64) -> bool {
        self.process.as_ref().is_some_and(|process| process.incarnation == incarnation)
    }

    fn all_over(&self) -> bool {
        let is_over = |request: &Request| {
            let record = request.job.as_ref().and_then(|job| self.disk.records.get(job));
            let is_retried =
                request.regrets && record.is_some_and(|record| record.state == JobState::Cancelled);
            request.acknowledged && !is_retried
        };
        self.requests.iter().all(is_over)
            && self.disk.records.values().all(|record| record.state.is_terminal())
    }

    /// The core's configuration for the current incarnation.
    pub(crate) fn core_config(&self) -> CoreConfig {
        CoreConfig {
            cluster: ClusterId("simulated".into()),
            incarnation: Incarnation(self.incarnation),
            failure_detection: Duration::from_micros(DETECTION),
            worker_grace: Duration::from_secs(3600),
            worker_grace_then: WorkerGraceThen::Queue,
            max_queued_jobs: 8,
            max_workers: 16,
            max_workers_per_identity: 16,
            sharing: self.sharing.clone(),
            keep: KeepLimits {
                jobs: 8,
                job_bytes: 1 << 20,
                checkpoint_bytes: 1 << 42,
                upload_bytes: 0,
                unused_upload: Duration::from_secs(3600),
            },
            retention: self.retention.clone(),
            memory: 1 << 20,
            verification_key: self.seed,
            blocks: |lengths| Blocks::of_size(lengths, BLOCK),
            exchange_route: match self.seed % 8 {
                0 => ExchangeRoute::Coordinator,
                1..4 => ExchangeRoute::Measured,
                _ => ExchangeRoute::Workers,
            },
            exchange_key: [self.incarnation as u8; 32],
        }
    }
}
