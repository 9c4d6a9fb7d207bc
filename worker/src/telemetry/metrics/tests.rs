use std::time::Duration;

use prometheus_client::encoding::text::encode;

use super::*;

fn scraped(metrics: &WorkerMetrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

fn assert_holds(text: &str, series: &[&str]) {
    for line in series {
        assert!(text.lines().any(|found| found == *line), "no {line:?} in\n{text}");
    }
}

#[test]
fn all_series_are_there_before_anything_happens() {
    let text = scraped(&WorkerMetrics::default());
    assert_holds(
        &text,
        &[
            "lookbehind_worker_connected 0",
            "lookbehind_worker_sessions_total 0",
            "lookbehind_worker_shards_computed_total{kind=\"gradient\"} 0",
            "lookbehind_worker_shards_computed_total{kind=\"test\"} 0",
            "lookbehind_worker_samples_total 0",
            "lookbehind_worker_compute_seconds_total 0.0",
            "lookbehind_worker_data_seconds_total 0.0",
            "lookbehind_worker_compute_shard_seconds_count 0",
            "lookbehind_worker_transfer_bytes_total{direction=\"received\"} 0",
            "lookbehind_worker_transfer_bytes_total{direction=\"sent\"} 0",
            "lookbehind_worker_transfer_seconds_total{direction=\"received\"} 0.0",
            "lookbehind_worker_transfer_seconds_total{direction=\"sent\"} 0.0",
            "lookbehind_worker_failures_total{what=\"prepare\"} 0",
            "lookbehind_worker_failures_total{what=\"request\"} 0",
            "lookbehind_worker_failures_total{what=\"upload\"} 0",
            "lookbehind_worker_memory_limit_bytes 0",
        ],
    );
}

#[test]
fn what_happens_is_counted_once_under_its_label() {
    let metrics = WorkerMetrics::default();
    metrics.limit_memory(1 << 30);
    let gradient = Computed {
        kind: RequestKind::Gradient,
        shards: 4,
        samples: 12,
        compute_seconds: 0.5,
        data_seconds: 0.25,
    };
    metrics.computed(gradient);
    metrics.computed(Computed {
        kind: RequestKind::Test(lookbehind_common::test_set::TestSet::Test),
        shards: 1,
        samples: 5,
        ..gradient
    });
    metrics.moved(Direction::Received, 400, Instant::now() - Duration::from_secs(2));
    metrics.failed(Failure::Upload);
    let text = scraped(&metrics);
    assert_holds(
        &text,
        &[
            "lookbehind_worker_shards_computed_total{kind=\"gradient\"} 4",
            "lookbehind_worker_shards_computed_total{kind=\"test\"} 1",
            "lookbehind_worker_samples_total 17",
            "lookbehind_worker_compute_seconds_total 1.0",
            "lookbehind_worker_data_seconds_total 0.5",
            "lookbehind_worker_compute_shard_seconds_sum 1.0",
            "lookbehind_worker_compute_shard_seconds_bucket{le=\"0.1\"} 0",
            "lookbehind_worker_compute_shard_seconds_bucket{le=\"0.25\"} 4",
            "lookbehind_worker_compute_shard_seconds_bucket{le=\"0.5\"} 5",
            "lookbehind_worker_transfer_bytes_total{direction=\"received\"} 400",
            "lookbehind_worker_transfer_bytes_total{direction=\"sent\"} 0",
            "lookbehind_worker_failures_total{what=\"prepare\"} 0",
            "lookbehind_worker_failures_total{what=\"upload\"} 1",
            "lookbehind_worker_memory_limit_bytes 1073741824",
        ],
    );
    assert!(text.contains("lookbehind_worker_transfer_seconds_total{direction=\"received\"} 2."), "{text}");
}

#[test]
fn a_worker_is_registered_as_long_as_its_session_lasts() {
    let metrics = WorkerMetrics::default();
    assert!(!metrics.is_registered());
    for sessions in ["1", "2"] {
        let session = metrics.registered();
        assert!(metrics.clone().is_registered());
        let sessions = format!("lookbehind_worker_sessions_total {sessions}");
        assert_holds(&scraped(&metrics), &["lookbehind_worker_connected 1", &sessions]);
        drop(session);
        assert!(!metrics.is_registered());
    }
}
