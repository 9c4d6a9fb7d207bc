use super::*;
use crate::test_support::{get, read};
use prometheus_client::registry::Unit;

#[tokio::test]
async fn a_scrape_holds_what_was_counted_and_ends_as_openmetrics_do() {
    let mut registry = registry("1.2.3");
    let waited = Seconds::default();
    registry.register_with_unit("lookbehind_waited", "Waiting", Unit::Seconds, waited.clone());
    let steps = long_times();
    registry.register_with_unit("lookbehind_step", "Steps", Unit::Seconds, steps.clone());
    waited.inc_by(0.5);
    steps.observe(0.02);
    let response = get(&router(Arc::new(registry)), "/metrics").await;
    assert_eq!(response.headers()[CONTENT_TYPE], OPENMETRICS);
    let (status, text) = read(response).await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "lookbehind_build_info{version=\"1.2.3\"} 1",
        "lookbehind_waited_seconds_total 0.5",
        "lookbehind_step_seconds_bucket{le=\"0.01\"} 0",
        "lookbehind_step_seconds_bucket{le=\"0.025\"} 1",
        "# UNIT process_resident_memory_bytes bytes",
        "# TYPE process_cpu_seconds counter",
        "# TYPE process_start_time_seconds gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
    }
    for name in
        ["process_resident_memory_bytes ", "process_cpu_seconds_total ", "process_start_time_seconds "]
    {
        assert!(text.lines().any(|found| found.starts_with(name)), "no {name:?} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn bounds_of_histograms_rise() {
    for bounds in [SHORT, LONG] {
        assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
    }
}
