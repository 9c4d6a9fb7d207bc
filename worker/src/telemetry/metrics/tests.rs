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

#[test]
fn time_and_bytes_of_exchanges_are_counted_by_the_workers_that_take_part() {
    let metrics = WorkerMetrics::default();
    metrics.exchange().meet(["a:1", "b:1"].into_iter());
    metrics.exchange().received("a:1", 100, Duration::from_secs(2), Duration::from_secs(3));
    metrics.exchange().sent("b:1", 40, Duration::from_secs(1));
    metrics.exchange().added(Duration::from_millis(500));
    assert_holds(
        &scraped(&metrics),
        &[
            "lookbehind_worker_exchange_seconds_total{peer=\"a:1\",phase=\"waiting\"} 2.0",
            "lookbehind_worker_exchange_seconds_total{peer=\"a:1\",phase=\"receiving\"} 3.0",
            "lookbehind_worker_exchange_seconds_total{peer=\"a:1\",phase=\"sending\"} 0.0",
            "lookbehind_worker_exchange_seconds_total{peer=\"b:1\",phase=\"sending\"} 1.0",
            "lookbehind_worker_exchange_bytes_total{peer=\"a:1\",direction=\"received\"} 100",
            "lookbehind_worker_exchange_bytes_total{peer=\"b:1\",direction=\"sent\"} 40",
            "lookbehind_worker_exchange_adding_seconds_total 0.5",
        ],
    );
    // A worker that has gone has no series, not even for what ends only now.
    metrics.exchange().meet(["b:1"].into_iter());
    metrics.exchange().sent("a:1", 7, Duration::from_secs(1));
    let text = scraped(&metrics);
    assert!(!text.contains("a:1"), "{text}");
    assert_holds(&text, &["lookbehind_worker_exchange_bytes_total{peer=\"b:1\",direction=\"sent\"} 40"]);
}
