//! The processes on which faults act.

use std::time::Duration;

use lookbehind_proto::v1;
use lookbehind_tests::client::{Client, within};
use lookbehind_tests::machines::Machines;
use lookbehind_tests::process::Process;
use lookbehind_tests::volume::Volume;
use rustix::process::Signal;

use crate::faults::{Fault, Health, Place};

/// Room for the state: what the reserve takes, and some jobs.
const ROOM: &str = "16m";
/// Logged by a coordinator that cannot store its state.
const DEGRADED: &str = "degraded mode mode=";
/// Number of workers at the beginning.
const WORKERS: usize = 3;
/// Logged by a worker that has lost its coordinator, whether its control stream or a transfer noticed it first.
const LOST: &str = "trying again";

/// A place for a worker.
struct Seat {
    health: Health,
    process: Process,
}

/// A coordinator and places for workers.
pub(crate) struct Chaos {
    machines: Machines,
    seats: Vec<Seat>,
    started: u32,
}

impl Chaos {
    /// Starts the coordinator and all workers, and waits until they are registered.
    pub(crate) async fn new() -> Self {
        let machines = Machines::guarded("1", Volume::new(ROOM).await).await;
        let mut chaos = Self { machines, seats: Vec::new(), started: 0 };
        for _ in 0..WORKERS {
            let process = chaos.start_worker();
            chaos.seats.push(Seat { health: Health::Well, process });
        }
        for number in 1..=WORKERS {
            chaos.machines.registered(&format!("w{number}")).await;
        }
        chaos
    }

    fn start_worker(&mut self) -> Process {
        self.started += 1;
        self.machines.worker_at(&self.machines.url, &format!("w{}", self.started))
    }

    pub(crate) fn client(&self) -> &Client {
        &self.machines.client
    }

    /// Submits the long job.
    pub(crate) async fn submit(&self) -> String {
        self.machines.submit("long.toml").await
    }

    /// State of each place's worker.
    pub(crate) fn workers(&self) -> Vec<Health> {
        self.seats.iter().map(|seat| seat.health).collect()
    }

    /// Makes a fault happen to the processes that serve a job.
    pub(crate) async fn suffer(&mut self, fault: Fault, job: &str) {
        match fault {
            Fault::KillWorker(place) => self.kill_worker(place).await,
            Fault::DismissWorker(place) => {
                let seat = &mut self.seats[place];
                seat.process.signal(Signal::TERM);
                assert_eq!(seat.process.exit().await, 0, "{}", seat.process.stderr());
                seat.health = Health::Gone;
            }
            Fault::FreezeWorker(place) => self.set(place, Signal::STOP, Health::Frozen),
            Fault::ThawWorker(place) => self.set(place, Signal::CONT, Health::Well),
            Fault::StartWorker(place) => {
                let process = self.start_worker();
                self.seats[place] = Seat { health: Health::Well, process };
            }
            Fault::KillCoordinator => self.kill_coordinator().await,
            Fault::KillBoth(place) => {
                self.machines.coordinator.signal(Signal::KILL);
                self.kill_worker(place).await;
                self.kill_coordinator().await;
            }
            Fault::DismissCoordinator => {
                self.machines.coordinator.signal(Signal::TERM);
                let code = self.machines.coordinator.exit().await;
                assert_eq!(code, 0, "{}", self.machines.coordinator.stderr());
                self.machines.restart().await;
            }
            Fault::PauseCoordinator => {
                self.machines.coordinator.signal(Signal::STOP);
                self.machines.coordinator.signal(Signal::CONT);
            }
            Fault::FreezeCoordinator => {
                let before = self.given_up();
                self.machines.coordinator.signal(Signal::STOP);
                within("a worker that gives the coordinator up", async {
                    while self.given_up() == before {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                })
                .await;
                self.machines.coordinator.signal(Signal::CONT);
            }
            Fault::FillDisk => {
                self.fill_disk(job).await;
                self.machines.volume().free();
            }
            Fault::KillOnFullDisk => {
                self.fill_disk(job).await;
                self.machines.coordinator.signal(Signal::KILL);
                self.machines.coordinator.ended().await;
                self.machines.volume().free();
                self.machines.restart().await;
            }
            Fault::RenewCertificates => self.machines.credentials().renew(),
        }
    }

    /// Does what an operator does until a job is over: a job whose last checkpoint found a full disk has paused, and is
    /// resumed.
    pub(crate) async fn attend(&self, job: &str) {
        within("the end of the job", async {
            loop {
                let request = v1::GetJobRequest { job_id: job.to_owned() };
                // A connection to a coordinator that was killed fails once.
                let answer = self.client().jobs().get_job(request).await;
                let found = answer.ok().and_then(|answer| answer.into_inner().job);
                match found.map(|job| job.state()) {
                    Some(v1::JobState::Paused) => {
                        let request = v1::ResumeJobRequest { job_id: job.to_owned(), ..Default::default() };
                        self.client().jobs().resume_job(request).await.expect("a paused job");
                    }
                    Some(v1::JobState::Succeeded | v1::JobState::Failed | v1::JobState::Cancelled) => break,
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        })
        .await;
    }

    /// Fills the disk and waits until the coordinator has noticed it, or the job is over and nothing is stored any more.
    async fn fill_disk(&self, job: &str) {
        let noticed = || self.machines.coordinator.stderr().matches(DEGRADED).count();
        let before = noticed();
        self.machines.volume().fill();
        within("a coordinator that notices that its disk is full", async {
            while noticed() == before && self.client().job(job).await.state() == v1::JobState::Running {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Bytes of the largest log, and the most bytes that a running process has had in memory at once.
    pub(crate) fn cost(&self) -> (u64, u64) {
        let workers = self.seats.iter().filter(|seat| seat.health == Health::Well);
        let processes = workers.map(|seat| &seat.process).chain([&self.machines.coordinator]);
        (self.machines.longest_log(), processes.map(Process::peak_memory).max().unwrap_or(0))
    }

    /// Deletes a job that has ended.
    pub(crate) async fn delete(&self, id: &str) {
        let request = v1::DeleteJobRequest { job_id: id.to_owned() };
        self.client().jobs().delete_job(request).await.expect("a job that has ended");
    }

    fn set(&mut self, place: Place, signal: Signal, health: Health) {
        self.seats[place].process.signal(signal);
        self.seats[place].health = health;
    }

    async fn kill_worker(&mut self, place: Place) {
        self.set(place, Signal::KILL, Health::Gone);
        self.seats[place].process.ended().await;
    }

    async fn kill_coordinator(&mut self) {
        self.machines.coordinator.signal(Signal::KILL);
        self.machines.coordinator.ended().await;
        self.machines.restart().await;
    }

    /// How often workers have considered a silent coordinator lost.
    fn given_up(&self) -> usize {
        self.seats.iter().map(|seat| seat.process.stderr().matches(LOST).count()).sum()
    }
}
