use super::*;
use crate::state::{JobRecord, JobState, Notice, NoticeKind, UnixMillis};

fn change(job: u64, revision: u64) -> Change {
    let record = JobRecord { revision, ..crate::state::record_for_tests(job) };
    let notice = Notice {
        revision,
        kind: NoticeKind::Event,
        state: JobState::Running,
        message: String::new(),
        outer_step: 0,
        total_outer_steps: 0,
        digest: None,
        at: UnixMillis(0),
    };
    let spec = (revision == 1).then(|| [1, 2].as_slice().into());
    Change::Job(Box::new(JobChange { record, spec, notices: vec![notice] }))
}

fn pop_job(backlog: &mut Backlog) -> JobChange {
    match backlog.pop() {
        Some(Change::Job(change)) => *change,
        other => panic!("expected a change of a job, found {other:?}"),
    }
}

#[test]
fn what_waits_does_not_grow_with_the_changes_of_a_job() {
    let mut backlog = Backlog::default();
    for revision in 1..=10_000 {
        backlog.push(change(1, revision));
        backlog.push(change(2, revision));
    }
    for job in [1, 2] {
        let waiting = pop_job(&mut backlog);
        assert_eq!(waiting.record.id, JobId::from_entropy(job));
        assert_eq!(waiting.record.revision, 10_000, "the newest record");
        assert_eq!(waiting.spec.as_deref(), Some([1, 2].as_slice()), "the specification is not lost");
        let revisions: Vec<u64> = waiting.notices.iter().map(|notice| notice.revision).collect();
        assert_eq!(
            revisions,
            (10_000 - NOTICES as u64 + 1..=10_000).collect::<Vec<_>>(),
            "the newest notices"
        );
    }
    assert!(backlog.pop().is_none() && backlog.jobs.is_empty());
}

#[test]
fn a_change_before_a_deletion_does_not_come_after_it() {
    let mut backlog = Backlog::default();
    let id = JobId::from_entropy(1);
    backlog.push(change(1, 1));
    backlog.push(Change::Delete(id.clone()));
    backlog.push(change(1, 1));
    pop_job(&mut backlog);
    assert!(matches!(backlog.pop(), Some(Change::Delete(deleted)) if deleted == id));
    pop_job(&mut backlog);
    assert!(backlog.pop().is_none());
}
