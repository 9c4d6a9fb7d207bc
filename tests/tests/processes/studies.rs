//! Studies as users run them: on this machine and on a cluster, interrupted and started again, and runs side by side.

use std::path::Path;

use lookbehind_tests::machines::Machines;
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;
use rustix::process::Signal;

/// Two methods, two seeds, and a grid of two points that validation chooses from: eight runs.
const STUDY: &str = r#"
name = "small study"
seeds = [1, 2]
budget = { gradients = 60 }
baseline = "sgd"
[selection]
seeds = [8, 9]
[job.model]
kind = "mlp"
hidden = [16]
[job.data]
kind = "digits"
resplit = 497
validation = 300
[job.train]
batch_size = 50
shards = 2
[job.optimizer.base]
kind = "sgd"
lr = 0.1
momentum = 0.9
[evaluate]
noise = [{ kind = "multiplicative", levels = [0.1, 0.5], draws = 3 }]
sharpness = { measures = ["one_step"], radii = [0.05, 0.1], samples = 200, batch = 100 }
[[variants]]
name = "sgd"
set = { optimizer = { method = "sgd" } }
[[variants]]
name = "lookbehind"
set = { optimizer = { method = "lookbehind", k = 2 } }
grid = { "optimizer.rho" = [0.05, 0.1] }
"#;

const FILES: [&str; 9] = [
    "table.csv",
    "runs.csv",
    "trials.md",
    "accuracy.svg",
    "curves.svg",
    "evaluation.md",
    "evaluation.csv",
    "noise-multiplicative-frozen-accuracy.svg",
    "table.md",
];

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The files that do not depend on time.
fn results(folder: &Path) -> Vec<String> {
    FILES[1..8].iter().map(|name| read(folder, name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_study_goes_on_to_the_same_results_here_and_on_a_cluster() {
    let machines = Machines::new().await;
    std::fs::write(machines.path("study.toml"), STUDY).unwrap();
    let (code, dry) = machines.ask("dry", &["study", "study.toml", "--dry-run"]).await;
    assert_eq!(code, 0, "{}", dry.stderr());
    assert!(
        dry.stdout().contains("4 runs to choose the points of grids, 4 runs to compare"),
        "{}",
        dry.stdout()
    );

    let whole = ["study", "study.toml", "--out", "whole"];
    let (code, study) = machines.ask("whole", &whole).await;
    assert_eq!(code, 0, "{}", study.stderr());
    assert!(study.stdout().contains("| lookbehind (rho = 0."), "{}", study.stdout());
    for name in FILES {
        assert!(!read(&machines.path("whole"), name).is_empty(), "{name}");
    }

    let broken = ["study", "study.toml", "--out", "broken", "--at-once", "1"];
    let mut first = Process::start(programs::lookbehind(), &broken, &machines.path("."), "broken");
    first.logged("run 2 of 8").await;
    first.signal(Signal::INT);
    assert_eq!(first.exit().await, 130, "{}", first.stderr());
    let (code, second) = machines.ask("again", &broken).await;
    assert_eq!(code, 0, "{}", second.stderr());
    assert!(second.stderr().contains("of 8 runs are there already and are kept"), "{}", second.stderr());
    assert_eq!(results(&machines.path("broken")), results(&machines.path("whole")));

    let _worker = machines.worker("a").await;
    let (code, cluster) =
        machines.ask("cluster", &["study", "study.toml", "--out", "cluster", "--cluster"]).await;
    assert_eq!(code, 0, "{}", cluster.stderr());
    assert_eq!(results(&machines.path("cluster")), results(&machines.path("whole")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_study_says_what_it_keeps_and_a_wrong_one_trains_nothing() {
    let machines = Machines::new().await;
    std::fs::write(machines.path("study.toml"), STUDY).unwrap();
    let (code, study) = machines.ask("first", &["study", "study.toml", "--out", "out"]).await;
    assert_eq!(code, 0, "{}", study.stderr());
    std::fs::write(machines.path("study.toml"), STUDY.replace("seeds = [1, 2]", "seeds = [2, 3]")).unwrap();
    let (code, study) = machines.ask("changed", &["study", "study.toml", "--out", "out"]).await;
    assert_eq!(code, 0, "{}", study.stderr());
    assert!(study.stderr().contains("6 of 8 runs are there already and are kept"), "{}", study.stderr());
    assert!(study.stderr().contains("2 runs in the folder belong to an earlier form"), "{}", study.stderr());

    std::fs::write(machines.path("study.toml"), STUDY.replace("baseline = \"sgd\"", "baseline = \"sam\""))
        .unwrap();
    let (code, study) = machines.ask("wrong", &["study", "study.toml", "--out", "none"]).await;
    assert_eq!(code, 2, "{}", study.stderr());
    assert!(study.stderr().contains("baseline: expected one of lookbehind, sgd"), "{}", study.stderr());
    assert!(!machines.path("none").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_shows_what_differs_and_draws_it() {
    let machines = Machines::new().await;
    for (out, rho) in [("one", "optimizer.rho=0.05"), ("two", "optimizer.rho=0.1")] {
        let args = ["train", "small.toml", "--data", "data", "--workers", "1", "--set", rho, "--out", out];
        let mut train = Process::start(programs::lookbehind(), &args, &machines.path("."), out);
        assert_eq!(train.exit().await, 0, "{}", train.stderr());
    }
    let args = ["compare", "one", "two", "--picture", "both.svg"];
    let (code, compared) = machines.ask("compare", &args).await;
    assert_eq!(code, 0, "{}", compared.stderr());
    let heading = compared.stdout().lines().next().unwrap_or_default().to_owned();
    assert!(heading.contains("optimizer.rho") && !heading.contains("seed"), "{heading}");
    assert!(read(&machines.path("."), "both.svg").ends_with("</svg>\n"));
    let (code, compared) = machines.ask("json", &["--json", "compare", "one", "two"]).await;
    assert_eq!(code, 0, "{}", compared.stderr());
    assert!(compared.stdout().contains("\"differs\":{\"optimizer.rho\":0.05}"), "{}", compared.stdout());
    let (code, compared) = machines.ask("missing", &["compare", "one", "nowhere"]).await;
    assert_eq!((code, compared.stderr().contains("nowhere")), (2, true), "{}", compared.stderr());
}
