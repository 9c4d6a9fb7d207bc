use super::*;

const FIVE_MINUTES: CheckpointInterval = CheckpointInterval::Time(Duration::from_secs(300));

/// Whether a checkpoint every five minutes is due after a second outer step that ends at this second.
fn is_due(pace: &Pace, second: u64) -> bool {
    let at = |outer_step| Position { outer_step, epoch: 0, batch: outer_step };
    pace.is_due(FIVE_MINUTES, at(1), at(2), Duration::from_secs(second))
}

#[test]
fn a_checkpoint_by_time_is_due_once_its_time_has_passed_since_the_newest_one() {
    let mut pace = Pace::new(Duration::from_secs(1000));
    assert!(!is_due(&pace, 1299));
    assert!(is_due(&pace, 1300));
    pace.begin(Duration::from_secs(1310));
    pace.end(Duration::from_secs(1311));
    assert!(!is_due(&pace, 1609));
    assert!(is_due(&pace, 1610));
}

#[test]
fn writing_checkpoints_by_time_takes_a_twentieth_of_the_time_at_most() {
    let mut pace = Pace::new(Duration::ZERO);
    pace.begin(Duration::from_secs(300));
    pace.end(Duration::from_secs(340));
    assert!(!is_due(&pace, 300 + 799));
    assert!(is_due(&pace, 300 + 800));
}

#[test]
fn no_checkpoint_by_time_is_due_while_another_one_is_being_written() {
    let mut pace = Pace::new(Duration::ZERO);
    pace.begin(Duration::from_secs(300));
    assert!(!is_due(&pace, 10_000));
    pace.end(Duration::from_secs(301));
    assert!(is_due(&pace, 10_000));
}
