use super::*;

fn job(name: &str) -> JobId {
    JobId::from_entropy(name.bytes().map(u64::from).sum())
}

#[test]
fn loading_is_cancelled_by_a_release_by_another_job_and_by_nothing_else() {
    let wanted = WantedJob::default();
    let first = wanted.want(&job("first"));
    let again = wanted.want(&job("first"));
    wanted.release(&job("other"));
    assert!(!first.is_cancelled());
    wanted.release(&job("first"));
    assert!(first.is_cancelled() && again.is_cancelled(), "both sessions asked for the same job");

    let first = wanted.want(&job("first"));
    assert!(!first.is_cancelled(), "it is wanted again");
    let second = wanted.want(&job("second"));
    assert!(first.is_cancelled() && !second.is_cancelled());
    wanted.clear();
    assert!(second.is_cancelled());
}
