use std::collections::BTreeMap;
use std::time::Duration;

use lookbehind_common::ids::{JobId, SessionSecret};
use lookbehind_common::job::JobFile;
use lookbehind_common::job::file::ResourcesSection;
use lookbehind_proto::wire;
use proptest::prelude::*;

use crate::state::event::{Event, ReplyTo};
use crate::state::tests::{Desk, outcome, registration, spec};
use crate::state::{Caller, JobState, Sharing};

fn user(name: &str) -> Caller {
    // Administrators own jobs as users do, and have the whole queue.
    Caller::Admin(name.into())
}

/// Workers that jobs of several users want.
struct Hall {
    desk: Desk,
    jobs: u64,
}

impl Hall {
    fn new(workers: u32, sharing: Sharing) -> Self {
        let mut hall = Self {
            desk: Desk::new(|config| {
                config.sharing = sharing;
                (config.keep.jobs, config.keep.job_bytes) = (10_000, 1 << 30);
            }),
            jobs: 0,
        };
        for number in 0..workers {
            let registration = registration(&format!("w{number}"));
            let secret = SessionSecret::from_entropy(u128::from(number));
            let reply_to = ReplyTo(9);
            let register = Event::Register { reply_to, registration, identity: None, secret };
            outcome(hall.desk.core.handle(hall.desk.now, register)).expect("the worker is registered");
        }
        hall
    }

    /// A job of a user.
    fn job(&mut self, owner: &str, change: impl FnOnce(&mut ResourcesSection)) -> JobId {
        let mut file: JobFile = wire::from_proto(&spec("", None)).expect("a job file");
        change(&mut file.resources);
        self.jobs += 1;
        let spec = Box::new(wire::to_proto(&file));
        self.desk.create(&user(owner), &format!("{}", self.jobs), spec).expect("room for a job")
    }

    /// Time passes; the workers stay.
    fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            self.desk.now.elapsed += Duration::from_millis(250);
            let sessions: Vec<_> =
                self.desk.core.cluster.workers.iter().map(|(session, _)| session).collect();
            for session in sessions {
                self.desk.core.cluster.workers.note_heard(session, self.desk.now.elapsed);
            }
            self.desk.tick();
        }
    }

    fn end(&mut self, id: &JobId) {
        self.desk.cancel(&user("root"), id).expect("a job that has not ended");
    }

    /// Number of workers of a job.
    fn workers(&self, id: &JobId) -> usize {
        let active = self.desk.core.jobs.get(id).and_then(|job| job.active.as_ref());
        active.map_or(0, |active| active.members.len())
    }

    fn state(&self, id: &JobId) -> JobState {
        self.desk.core.jobs[id].record.state
    }

    /// Workers by jobs, now and for a while.
    fn lasting<const N: usize>(&mut self, jobs: [&JobId; N]) -> [usize; N] {
        self.ticks(8);
        let counted = jobs.map(|id| self.workers(id));
        for _ in 0..8 {
            self.ticks(1);
            assert_eq!(jobs.map(|id| self.workers(id)), counted, "workers change hands without end");
        }
        counted
    }
}

fn shares(shares: &[(&str, u32)]) -> Sharing {
    let shares = shares.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect();
    Sharing { shares, ..Sharing::default() }
}

#[test]
fn a_user_who_comes_later_gets_their_share_of_the_workers() {
    for (rules, expected) in
        [(shares(&[]), [2, 2]), (shares(&[("ada", 3)]), [3, 1]), (shares(&[("bob", 3)]), [1, 3])]
    {
        let mut hall = Hall::new(4, rules);
        let ada = hall.job("ada", |_| ());
        assert_eq!(hall.workers(&ada), 4, "nobody else wants them");
        let bob = hall.job("bob", |_| ());
        assert_eq!(hall.lasting([&ada, &bob]), expected);
        hall.end(&bob);
        assert_eq!(hall.lasting([&ada]), [4], "what is free again goes back");
    }
}

#[test]
fn three_users_of_three_workers_have_one_each_and_a_second_job_does_not_give_a_user_more() {
    let mut hall = Hall::new(3, Sharing::default());
    let ada = hall.job("ada", |_| ());
    let more = hall.job("ada", |_| ());
    let others = ["bob", "cem"].map(|name| hall.job(name, |_| ()));
    assert_eq!(hall.lasting([&ada, &others[0], &others[1], &more]), [1, 1, 1, 0]);
}

#[test]
fn a_second_job_of_the_same_user_waits_for_its_turn() {
    let mut hall = Hall::new(4, Sharing::default());
    let (first, second) = (hall.job("ada", |_| ()), hall.job("ada", |_| ()));
    assert_eq!(hall.lasting([&first, &second]), [4, 0]);
    hall.end(&first);
    assert_eq!(hall.workers(&second), 4);
}

#[test]
fn a_job_keeps_the_workers_that_it_needs_and_one_of_a_higher_priority_keeps_all() {
    let mut hall = Hall::new(4, Sharing::default());
    let ada = hall.job("ada", |resources| resources.min_workers = Some(3));
    let bob = hall.job("bob", |_| ());
    assert_eq!(hall.lasting([&ada, &bob]), [3, 1]);
    let mut hall = Hall::new(4, Sharing::default());
    let ada = hall.job("ada", |resources| resources.priority = Some(1));
    let bob = hall.job("bob", |_| ());
    assert_eq!(hall.lasting([&ada, &bob]), [4, 0]);
}

#[test]
fn a_job_makes_way_for_one_of_a_higher_priority_only_where_that_is_the_rule_and_goes_on_later() {
    for preempt in [false, true] {
        let mut hall = Hall::new(4, Sharing { preempt, ..Sharing::default() });
        let lower = hall.job("ada", |resources| resources.min_workers = Some(4));
        let higher = hall.job("bob", |resources| {
            (resources.min_workers, resources.priority) = (Some(2), Some(1));
        });
        let expected = if preempt { [0, 4] } else { [4, 0] };
        assert_eq!(hall.lasting([&lower, &higher]), expected);
        if preempt {
            assert_eq!(hall.state(&lower), JobState::Queued);
            let message = &hall.desk.core.jobs[&lower].record.message;
            assert_eq!(*message, format!("it makes way for job {higher}, whose priority is 1"));
        }
        hall.end(&higher);
        assert_eq!(hall.lasting([&lower]), [4]);
    }
}

#[test]
fn no_job_is_paused_for_one_that_could_not_start_then_either() {
    let mut hall = Hall::new(3, Sharing { preempt: true, ..Sharing::default() });
    let top = hall.job("ada", |resources| (resources.max_workers, resources.priority) = (Some(1), Some(2)));
    let lower = hall.job("ada", |_| ());
    let higher =
        hall.job("bob", |resources| (resources.min_workers, resources.priority) = (Some(3), Some(1)));
    assert_eq!(hall.lasting([&top, &lower, &higher]), [1, 2, 0]);
}

#[test]
fn a_user_has_no_more_running_jobs_than_users_may_have_and_blocks_nobody() {
    let mut hall = Hall::new(4, Sharing { max_active_jobs: Some(2), ..Sharing::default() });
    let one = |resources: &mut ResourcesSection| resources.max_workers = Some(1);
    let ada = [(); 3].map(|()| hall.job("ada", one));
    let bob = hall.job("bob", one);
    assert_eq!(hall.lasting([&ada[0], &ada[1], &ada[2], &bob]), [1, 1, 0, 1]);
    hall.end(&ada[0]);
    assert_eq!(hall.workers(&ada[2]), 1);
}

#[test]
fn the_next_turn_is_that_of_the_user_who_has_had_least() {
    let mut hall = Hall::new(1, Sharing::default());
    let ada = [(); 4].map(|()| hall.job("ada", |_| ()));
    hall.ticks(4);
    let bob = [(); 2].map(|()| hall.job("bob", |_| ()));
    let mut order = Vec::new();
    for _ in 0..6 {
        let running = ada.iter().chain(&bob).find(|id| hall.workers(id) == 1).expect("a job runs").clone();
        order.push(if ada.contains(&running) { "ada" } else { "bob" });
        hall.ticks(4);
        hall.end(&running);
    }
    assert_eq!(order[1], "bob", "{order:?}: not after everything that was there before");
    assert_eq!(order.iter().take(4).filter(|name| **name == "bob").count(), 2, "{order:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_user_starves_beside_one_whose_queue_is_never_empty(
        workers in 1_u32..6,
        needs in prop::collection::vec((1_u32..6, 1_u32..6), 1..4),
        lengths in prop::collection::vec(1_u32..12, 1..8),
        preempt in any::<bool>(),
    ) {
        let mut hall = Hall::new(workers, Sharing { preempt, ..Sharing::default() });
        let mut ages: BTreeMap<JobId, u32> = BTreeMap::new();
        let mut waiting: Vec<JobId> = Vec::new();
        let mut lengths = lengths.into_iter().cycle();
        for (number, (min, max)) in needs.into_iter().enumerate() {
            let min = min.min(workers);
            let job = hall.job(&format!("modest{number}"), |resources| {
                (resources.min_workers, resources.max_workers) = (Some(min), Some(max.max(min)));
            });
            waiting.push(job);
        }
        for _ in 0..400 {
            let greedy = hall.desk.core.jobs.values().filter(|job| job.record.owner == "greedy").count();
            for _ in greedy..8 {
                let min = lengths.next().map(|length| length % workers + 1);
                hall.job("greedy", |resources| resources.min_workers = min);
            }
            hall.ticks(1);
            waiting.retain(|id| hall.workers(id) == 0);
            // Jobs run for as many ticks as was drawn for them.
            let active: Vec<JobId> = hall.desk.core.jobs.values().filter(|job| job.active.is_some()).map(|job| job.id().clone()).collect();
            for id in active {
                let left = ages.entry(id.clone()).or_insert_with(|| lengths.next().unwrap_or(1));
                *left -= 1;
                if *left == 0 {
                    ages.remove(&id);
                    hall.end(&id);
                }
            }
            if waiting.is_empty() {
                break;
            }
        }
        prop_assert!(waiting.is_empty(), "{} jobs never had a worker", waiting.len());
    }
}
