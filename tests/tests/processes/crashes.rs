//! A coordinator that crashes at any stage of writing its state continues from there, to the same final weights.

use lookbehind_tests::jobs::LONG_STEPS;

use lookbehind_tests::machines::{Machines, lines, long_digest, reported_outer_steps};

/// The stages, and the number of the visit to each at which the coordinator crashes.
const STAGES: [(&str, u32); 14] = [
    ("store::put", 4),
    ("store::written", 5),
    ("store::durable", 6),
    ("journal::write", 200),
    ("journal::written", 3),
    ("checkpoint::begun", 1),
    ("checkpoint::begun", 3),
    ("checkpoint::model", 2),
    ("checkpoint::tensors", 3),
    ("checkpoint::manifest", 1),
    ("checkpoint::manifest", 3),
    ("checkpoint::named", 2),
    ("checkpoint::durable", 3),
    ("checkpoint::prune", 2),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_crashes_at_any_stage_of_writing_loses_nothing() {
    let digest = long_digest().await;
    for (stage, count) in STAGES {
        let mut machines = Machines::new().await;
        machines.crash_at(stage, count).await;
        let _worker = machines.worker("a").await;
        let mut submitting = machines.user("submit", &["--json", "submit", "long.toml", "--watch"]);
        machines.coordinator.ended().await;
        machines.restart().await;
        assert_eq!(submitting.exit().await, 0, "{stage} {count}: {}", submitting.stderr());
        assert_eq!(
            reported_outer_steps(&submitting),
            (1..=LONG_STEPS).collect::<Vec<_>>(),
            "{stage} {count}: each step once"
        );
        let summary = lines(&submitting).pop().map(|line| line["summary"]["digest"].clone());
        assert_eq!(summary, Some(digest.into()), "{stage} {count}");
    }
}
