use super::*;

#[test]
fn a_day_without_a_coordinator_takes_few_lines_and_a_new_reason_is_said() {
    let mut complaints = Complaints::default();
    let begun = Instant::now();
    let at = |seconds: u64| begun + Duration::from_secs(seconds);
    // An attempt every two seconds.
    let said = (0..43_200).filter(|attempt| complaints.is_due(at(2 * attempt), "connection refused")).count();
    assert_eq!(said, 144);
    assert!(complaints.is_due(at(86_400), "no route to host"));
    assert!(!complaints.is_due(at(86_402), "connection refused"), "two reasons in turn");
    assert!(complaints.is_due(at(86_412), "connection refused"));
    complaints.forget();
    assert!(complaints.is_due(at(86_414), "connection refused"), "after a registration");
}
