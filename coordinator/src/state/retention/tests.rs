mod year;

use super::*;
use crate::state::access::Caller;
use crate::state::event::Event;
use crate::state::record::UnixMillis;
use crate::state::tests::{Desk, spec};

/// A desk with a limit.
fn desk(retention: Retention) -> Desk {
    Desk::new(|config| config.retention = retention)
}

impl Desk {
    /// Jobs that ended one second after another, in this order.
    fn ended(&mut self, jobs: u64) -> Vec<JobId> {
        (0..jobs).map(|number| self.ended_at(number)).collect()
    }

    fn ended_at(&mut self, number: u64) -> JobId {
        self.now.unix = UnixMillis(1000 * number);
        let id = self.create(&Caller::Anyone, &format!("job-{number}"), spec("", None)).expect("a job");
        self.cancel(&Caller::Anyone, &id).expect("a job that has ended");
        id
    }

    /// Identities of the stored jobs, in the order of their creation.
    fn kept(&self) -> Vec<JobId> {
        self.stored.values().map(|job| job.record.id.clone()).collect()
    }

    fn measured(&mut self, id: &JobId, bytes: u64) {
        self.core.handle(self.now, Event::Measured { job: id.clone(), bytes });
    }
}

#[test]
fn jobs_that_have_ended_beyond_the_number_are_deleted_the_oldest_first() {
    let mut desk = desk(Retention { jobs: Some(2), ..Retention::default() });
    let ids = desk.ended(4);
    desk.tick();
    assert_eq!(desk.kept(), ids[2..]);
    desk.tick();
    assert_eq!(desk.kept(), ids[2..]);
}

#[test]
fn a_job_that_has_not_ended_is_never_deleted() {
    let limits = Retention { time: Some(Duration::from_secs(1)), jobs: Some(1), bytes: Some(1) };
    let mut desk = desk(limits);
    let waiting = desk.create(&Caller::Anyone, "waiting", spec("", None)).expect("a job");
    desk.ended(3);
    desk.now.unix = UnixMillis(1_000_000);
    desk.tick();
    assert_eq!(desk.kept(), [waiting]);
}

#[test]
fn jobs_are_kept_for_a_time_after_their_end_that_a_restart_does_not_prolong() {
    let mut desk = desk(Retention { time: Some(Duration::from_secs(10)), ..Retention::default() });
    let ids = desk.ended(3);
    desk.now.unix = UnixMillis(10_000);
    desk.tick();
    assert_eq!(desk.kept(), ids);
    desk.restart();
    desk.now.unix = UnixMillis(11_500);
    desk.tick();
    assert_eq!(desk.kept(), ids[2..]);
}

#[test]
fn the_oldest_jobs_go_until_the_files_of_the_others_fit() {
    let mut desk = desk(Retention { bytes: Some(100), ..Retention::default() });
    let ids = desk.ended(3);
    for id in &ids {
        desk.measured(id, 50);
    }
    desk.tick();
    assert_eq!(desk.kept(), ids[1..]);
    // Measured again, as after a restart: it counts once.
    desk.measured(&ids[2], 60);
    desk.tick();
    assert_eq!(desk.kept(), ids[2..]);
}

#[test]
fn a_job_that_is_retried_does_not_count_any_more() {
    let mut desk = desk(Retention { jobs: Some(2), bytes: Some(100), ..Retention::default() });
    let ids = desk.ended(2);
    desk.measured(&ids[0], 100);
    let stored = desk.stored.values().next().and_then(|job| job.spec.clone());
    let retry = crate::state::event::UserCall::Retry { id: ids[0].clone(), spec: stored };
    desk.ask(&Caller::Anyone, retry);
    let newer = desk.ended_at(7);
    desk.measured(&newer, 90);
    desk.tick();
    assert_eq!(desk.kept(), [ids[0].clone(), ids[1].clone(), newer]);
}

#[test]
fn one_tick_deletes_a_few_jobs_only() {
    let mut desk = desk(Retention { jobs: Some(1), ..Retention::default() });
    desk.ended(20);
    desk.tick();
    assert_eq!(desk.kept().len(), 20 - AT_ONCE);
    desk.tick();
    desk.tick();
    assert_eq!(desk.kept().len(), 1);
}
