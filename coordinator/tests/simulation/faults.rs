//! The faults of a schedule, drawn from its seed.

use std::collections::BTreeSet;

use lookbehind_coordinator::state::StorageFailure;
use lookbehind_coordinator::state::event::Event;

use crate::agenda::ScheduledEvent;
use crate::dice::{Dice, Micros, millis, seconds};
use crate::lies::Lie;
use crate::streams::identity_of;
use crate::users::Wish;
use crate::worker::Worker;
use crate::world::World;

/// A fault. Numbers of workers are taken modulo the number of workers; times are durations.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Kill(usize, Option<Micros>),
    /// The machine loses power: its connections are not closed.
    Vanish(usize, Micros),
    Freeze(usize, Micros),
    /// The executor stops for good, while heartbeats continue.
    Wedge(usize),
    /// The executor stops for a while, while heartbeats continue.
    Stick(usize, Micros),
    Slow(usize, Micros),
    BreakStream(usize),
    /// No control message and no transfer gets through; the flags are for the directions up and down.
    Cut(usize, bool, bool, Micros),
    /// A worker cannot connect to another one.
    CutPair(usize, usize, Micros),
    SlowBulk(usize, Micros),
    LossyBulk(usize, Micros),
    Join,
    Drain(usize, Micros),
    FreezeCoordinator(Micros),
    Crash(Micros),
    /// The coordinator crashes at a coming transition of the disk: this many are passed first.
    CrashAtTransition(u64),
    Shutdown,
    SlowDisk(Micros),
    /// Checkpoints cannot be written.
    FullDisk(Micros),
    /// It becomes known that nothing can be stored, and later that everything can be again.
    NoStorage(Micros),
    StorageBack,
    User(usize, Wish),
    /// A user pauses and resumes a job twice in quick succession.
    Hesitate(usize),
    Stale,
}

/// Draws the faults of a schedule; one schedule of eight has none.
pub(crate) fn draw(dice: &mut Dice, phase: Micros, workers: u64) -> Vec<(Micros, Fault)> {
    let count = match dice.below(8) {
        0 => 0,
        1..4 => dice.between(1, 4),
        _ => dice.between(4, 25),
    };
    // Jobs start early: a fifth of the faults occurs in the first second, so that many meet jobs in preparation.
    let when = |dice: &mut Dice| if dice.percent(20) { dice.below(seconds(1)) } else { dice.below(phase) };
    (0..count).map(|_| (when(dice), one(dice, workers))).collect()
}

fn one(dice: &mut Dice, workers: u64) -> Fault {
    let worker = dice.below(workers + 1) as usize;
    let short = dice.between(millis(100), seconds(1));
    let long = dice.between(millis(500), seconds(10));
    match dice.below(31) {
        0 | 1 => Fault::Kill(worker, dice.percent(70).then_some(long)),
        2 | 3 => Fault::Freeze(worker, if dice.percent(30) { short } else { long }),
        4 => Fault::Stick(worker, long),
        5 => Fault::Slow(worker, 2 * long),
        6 => Fault::BreakStream(worker),
        7 | 8 => {
            let (up, down) = dice.pick(&[(true, false), (false, true), (true, true)]);
            Fault::Cut(worker, up, down, long)
        }
        9 | 10 => Fault::SlowBulk(worker, 2 * long),
        11 => Fault::LossyBulk(worker, 2 * long),
        12 => Fault::Join,
        13 => Fault::Drain(worker, long),
        14 => Fault::FreezeCoordinator(if dice.percent(50) { short } else { long / 2 }),
        15 => Fault::Crash(long / 2),
        16 | 17 => Fault::CrashAtTransition(dice.below(6)),
        18 => Fault::Shutdown,
        19 => Fault::SlowDisk(2 * long),
        20 | 21 => Fault::User(dice.below(2) as usize, dice.pick(&[Wish::Pause, Wish::Pause, Wish::Resume])),
        22 => Fault::Vanish(worker, long),
        23 => Fault::Wedge(worker),
        24 | 25 => Fault::Hesitate(dice.below(2) as usize),
        27 => Fault::NoStorage(long),
        28 => Fault::FullDisk(2 * long),
        29 | 30 => Fault::CutPair(worker, dice.below(workers + 1) as usize, 3 * long),
        26 if dice.percent(20) => Fault::User(dice.below(2) as usize, Wish::Cancel),
        _ => Fault::Stale,
    }
}

impl World {
    /// Lets a fault occur.
    pub(crate) fn strike(&mut self, fault: Fault) {
        let now = self.now;
        let count = self.workers.len();
        match fault {
            Fault::Kill(worker, again) => self.kill(worker % count, again),
            Fault::Vanish(worker, again) => self.vanish(worker % count, again),
            Fault::Wedge(worker) => self.wedge(worker % count),
            Fault::Freeze(worker, time) => self.workers[worker % count].frozen_until = now + time,
            Fault::Stick(worker, time) => {
                // One that has stopped for good does not go on again.
                let worker = &mut self.workers[worker % count];
                worker.stuck_until = worker.stuck_until.max(now + time);
            }
            Fault::Slow(worker, time) => self.workers[worker % count].slow_until = now + time,
            Fault::BreakStream(worker) => self.break_stream(worker % count),
            Fault::Cut(worker, up, down, time) => {
                let worker = &mut self.workers[worker % count];
                worker.up_cut_until = if up { now + time } else { worker.up_cut_until };
                worker.down_cut_until = if down { now + time } else { worker.down_cut_until };
            }
            Fault::CutPair(from, to, time) => {
                self.cut_pairs.insert((from % count, to % count), now + time);
            }
            Fault::SlowBulk(worker, time) => self.workers[worker % count].bulk_slow_until = now + time,
            Fault::LossyBulk(worker, time) => self.workers[worker % count].bulk_lossy_until = now + time,
            Fault::Join if count < 8 => self.add_worker(),
            Fault::Join => {}
            Fault::Drain(worker, again) => self.drain(worker % count, again),
            Fault::FreezeCoordinator(time) if self.process.is_some() => self.frozen_until = now + time,
            Fault::FreezeCoordinator(_) => {}
            Fault::Crash(down) => self.crash(down),
            Fault::CrashAtTransition(count) => self.disk.crash_in = Some(count),
            Fault::Shutdown => self.shut_down(),
            Fault::SlowDisk(time) => self.disk.slow_until = now + time,
            Fault::FullDisk(time) => self.disk.full_until = now + time,
            Fault::NoStorage(time) => {
                let failure = StorageFailure { full: true, reason: "no space".into() };
                self.feed(Event::Storage(Some(failure)));
                self.agenda.add(now + time, ScheduledEvent::Fault(Fault::StorageBack));
            }
            Fault::StorageBack => self.feed(Event::Storage(None)),
            Fault::User(request, wish) => self.call(request, wish),
            Fault::Hesitate(request) => {
                let mut at = now;
                for wish in [Wish::Pause, Wish::Resume, Wish::Pause, Wish::Resume] {
                    self.agenda.add(at, ScheduledEvent::Fault(Fault::User(request, wish)));
                    at += self.dice.below(millis(100));
                }
            }
            Fault::Stale => self.send_stale(),
        }
    }

    fn kill(&mut self, worker: usize, again: Option<Micros>) {
        if !self.workers[worker].alive {
            return;
        }
        self.kill_worker(worker);
        if let Some(again) = again.or((!self.any_worker_is_alive()).then_some(seconds(1))) {
            self.revive_later(worker, again);
        }
    }

    fn vanish(&mut self, worker: usize, again: Micros) {
        if self.workers[worker].alive {
            self.workers[worker].session = None;
            self.kill_worker(worker);
            self.revive_later(worker, again);
        }
    }

    fn wedge(&mut self, worker: usize) {
        self.workers[worker].stuck_until = Micros::MAX;
    }

    fn drain(&mut self, worker: usize, again: Micros) {
        if self.workers[worker].alive && !self.workers[worker].draining {
            self.drain_worker(worker);
            self.revive_later(worker, again + seconds(3));
        }
    }

    /// Starts a worker again after a while, unless it runs by then.
    fn revive_later(&mut self, worker: usize, after: Micros) {
        self.agenda.add(self.now + after, ScheduledEvent::Revive(worker));
    }

    pub(crate) fn revive(&mut self, worker: usize) {
        if self.workers[worker].draining {
            self.kill_worker(worker);
        }
        if !(self.healed && self.workers[worker].lie == Some(Lie::Description)) {
            self.start_worker(worker);
        }
    }

    fn any_worker_is_alive(&self) -> bool {
        self.workers.iter().any(|worker| worker.alive)
    }

    /// Closes the worker's stream for both ends, which notice it independently.
    fn break_stream(&mut self, worker: usize) {
        if let Some(stream) = self.workers[worker].session.as_ref().map(|session| session.stream) {
            self.close_up(stream);
            self.close_down(stream);
        }
    }

    fn shut_down(&mut self) {
        if self.process.is_some() && self.frozen_until <= self.now {
            self.agenda.add(self.now + seconds(5), ScheduledEvent::GraceOver(self.incarnation));
            self.feed(Event::Shutdown);
        }
    }

    /// Ends all faults, except executors that have stopped for good, and makes sure that at least two healthy workers
    /// run: from here on every job must finish.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.frozen_until = 0;
        self.disk.slow_until = 0;
        self.disk.crash_in = None;
        for number in 0..self.workers.len() {
            let worker = &mut self.workers[number];
            worker.frozen_until = 0;
            if worker.stuck_until < Micros::MAX {
                worker.stuck_until = 0;
            }
            (worker.up_cut_until, worker.down_cut_until) = (0, 0);
            // Nobody can tell which of two descriptions is right; that one leaves must be enough.
            if worker.draining || worker.lie == Some(Lie::Description) {
                self.kill_worker(number);
            }
        }
        let well = |worker: &Worker| worker.stuck_until == 0 && worker.lie.is_none();
        for number in 0..self.workers.len() {
            let stays_away = self.workers[number].lie == Some(Lie::Description);
            if !stays_away && (number < 2 || !well(&self.workers[number])) {
                self.start_worker(number);
            }
        }
        // Of two identities, or jobs that are to be verified wait for ever.
        let identities = |workers: &[Worker]| {
            let well = workers.iter().enumerate().filter(|(_, worker)| worker.alive && well(worker));
            well.map(|(number, _)| identity_of(number)).collect::<BTreeSet<_>>().len()
        };
        let count = |workers: &[Worker]| workers.iter().filter(|worker| worker.alive && well(worker)).count();
        while count(&self.workers) < 2 || identities(&self.workers) < 2 {
            self.add_worker();
        }
    }
}
