use super::*;

fn terms(failure_detection_ms: u64, heartbeat_interval_ms: u64) -> Result<Terms, TermsError> {
    v1::Registered { failure_detection_ms, heartbeat_interval_ms }.try_into()
}

#[test]
fn terms_that_would_make_a_worker_reconnect_or_wait_without_end_are_refused_by_name() {
    assert!(terms(2000, 500).is_ok());
    for (detection, interval, field) in [
        (0, 0, "failure_detection_ms"),
        (99, 20, "failure_detection_ms"),
        (u64::MAX, 500, "failure_detection_ms"),
        (2000, 0, "heartbeat_interval_ms"),
        (2000, 1001, "heartbeat_interval_ms"),
    ] {
        let error = terms(detection, interval).unwrap_err().to_string();
        assert!(error.contains(field) && error.contains("expected"), "{error}");
    }
}
