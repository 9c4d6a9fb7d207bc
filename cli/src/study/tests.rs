use std::path::PathBuf;

use super::file::StudyFile;
use super::plan::Plan;
use super::results::{choose, csv, curves_picture, evaluation_rows, markdown, rows};
use super::*;

const JOB: &str = r#"
name = "s"
seeds = [1, 2, 3]
baseline = "sgd"
budget = { gradients = 60 }
metric = "selected"

[job.model]
kind = "mlp"
hidden = [8]
[job.data]
kind = "digits"
validation = 100
[job.train]
batch_size = 50
[job.optimizer.base]
kind = "sgd"
lr = 0.1
"#;

const TWO: &str = r#"
[[variants]]
name = "sgd"
set = { optimizer = { method = "sgd" } }
[[variants]]
name = "lookbehind"
set = { "optimizer.method" = "lookbehind", "optimizer.k" = 2, "optimizer.rho" = 0.1 }
"#;

/// Writes a study and reads its plan.
fn plan(variants: &str) -> Result<(tempfile::TempDir, Plan), String> {
    of_text(&format!("{JOB}{variants}"))
}

fn of_text(text: &str) -> Result<(tempfile::TempDir, Plan), String> {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("study.toml");
    std::fs::write(&path, text).unwrap();
    let plan = Plan::read(&path, 1).map_err(|error| error.to_string())?;
    Ok((folder, plan))
}

fn refusal(variants: &str) -> String {
    plan(variants).err().unwrap()
}

#[test]
fn a_budget_of_gradients_gives_each_method_the_steps_that_it_suffices_for() {
    let (_folder, plan) = plan(TWO).unwrap();
    assert_eq!(plan.runs(), 6);
    let steps = |variant| plan.run(variant, 0, 1, false).unwrap().source.spec.train.length;
    assert_eq!(format!("{:?} {:?}", steps(0), steps(1)), "Steps(60) Steps(20)");
}

#[test]
fn a_job_has_the_name_and_labels_of_its_study_and_the_key_of_its_result() {
    let (_folder, plan) = plan(TWO).unwrap();
    let run = plan.run(1, 0, 3, false).unwrap();
    assert_eq!((run.source.spec.name.as_str(), run.source.spec.seed), ("s lookbehind seed 3", 3));
    assert_eq!(run.source.spec.labels["variant"], "lookbehind");
    let (_folder, renamed) = self::plan(&TWO.replace("name = \"lookbehind\"", "name = \"other\"")).unwrap();
    assert_eq!(renamed.run(1, 0, 3, false).unwrap().key, run.key);
    assert_ne!(plan.run(1, 0, 2, false).unwrap().key, run.key);
    let (_folder, changed) = self::plan(&TWO.replace("0.1 }", "0.2 }")).unwrap();
    assert_ne!(changed.run(1, 0, 3, false).unwrap().key, run.key);
}

#[test]
fn a_study_that_would_compare_nothing_fairly_is_refused_before_anything_is_trained() {
    let grid = |key: &str, values: &str| format!("grid = {{ \"{key}\" = {values} }}\n");
    let lr = grid("optimizer.base.lr", "[0.1, 0.2]");
    let searched = format!("{TWO}{lr}");
    let same = "[[variants]]\nname = \"also\"\nset.optimizer.method = \"sgd\"\n";
    for (variants, part) in [
        (
            TWO.replace("\"sgd\"\nset", "\"SGD\"\nset"),
            "baseline: expected one of SGD, lookbehind, found \"sgd\"",
        ),
        (format!("{TWO}{same}"), "sgd and also are the same job"),
        (TWO.replace("lookbehind\"\nset", "sgd\"\nset"), "\"sgd\" is there twice"),
        (TWO.replace("optimizer.k", "optimizer.kk"), "optimizer.kk"),
        (format!("{TWO}typo = 1\n"), "unknown field `typo`"),
        (searched.clone(), "selection: needs seeds for the trials of \"lookbehind\""),
        (format!("{searched}[selection]\nseeds = [3]\n"), "seed 3 is also one of the study's"),
        (format!("{searched}[selection]\nseeds = [9]\n[budgets]\n"), "unknown field `budgets`"),
        (
            format!(
                "{searched}[[variants]]\nname = \"x\"\n{}[selection]\nseeds = [9]\n",
                grid("optimizer.rho", "[0.1, 0.2, 0.3]")
            ),
            "grids need equal numbers of trials: \"lookbehind\" has 2, \"x\" has 3",
        ),
        (format!("{TWO}{}", grid("optimizer.rho", "[]")), "grid.optimizer.rho: expected at least one value"),
    ] {
        let found = refusal(&variants);
        assert!(found.contains(part), "{part}: {found}");
    }
}

#[test]
fn methods_are_matched_in_radius_and_movement_by_one_key_each() {
    let matched = "[[variants]]\nname = \"matched\"\nset = { optimizer = { method = \"lookbehind\", k = 5, alpha = 0.2 }, \
                   effective_rho = 0.3, alpha_k_lr = 0.05 }\n";
    let (_folder, plan) = plan(&format!("{TWO}{matched}")).unwrap();
    let spec = plan.run(2, 0, 1, false).unwrap().source.spec;
    let found = confounds::Confounds::of(&spec);
    assert!((found.effective_rho.unwrap() - 0.3).abs() < 1e-12 && (found.alpha_k_lr - 0.05).abs() < 1e-12);
    assert!((spec.optimizer.method.parts().ascent.unwrap().rho - 0.1).abs() < 1e-12);
    let none =
        "[[variants]]\nname = \"none\"\nset = { optimizer = { method = \"sgd\" }, effective_rho = 0.3 }\n";
    let found = refusal(&format!("{TWO}{none}"));
    assert!(found.contains("variant \"none\": effective_rho: expected a number above 0"), "{found}");
}

#[test]
fn a_grid_that_explodes_says_how_many_runs_it_would_have() {
    let many: Vec<String> = (1..=20).map(|n| format!("0.{n:02}")).collect();
    let many = many.join(", ");
    let grid = format!("grid = {{ \"optimizer.base.lr\" = [{many}], \"optimizer.rho\" = [{many}] }}\n");
    let found = refusal(&format!("{TWO}{grid}[selection]\nseeds = [11, 12]\n"));
    assert!(found.contains("806 runs") && found.contains("60 gradients each, 48360 in all"), "{found}");
    assert!(found.contains("max_runs"), "{found}");
}

#[test]
fn a_grid_needs_validation() {
    let text =
        format!("{JOB}{TWO}grid = {{ \"optimizer.base.lr\" = [0.1, 0.2] }}\n[selection]\nseeds = [9]\n");
    let found = of_text(&text.replace("validation = 100\n", "")).err().unwrap();
    assert!(found.contains("job.data.validation: is needed"), "{found}");
}

#[test]
fn every_point_of_a_grid_is_there_once() {
    let text = format!(
        "{JOB}{TWO}grid = {{ \"optimizer.base.lr\" = [0.1, 0.2], \"optimizer.alpha\" = [0.2, 0.5, 0.8] }}\n"
    );
    let file = StudyFile::parse(&format!("{text}[selection]\nseeds = [9]\n")).unwrap();
    let points: std::collections::BTreeSet<String> =
        (0..file.variants[1].points()).map(|point| plan::shown(&file.variants[1].point(point))).collect();
    assert_eq!(points.len(), 6);
}

/// A study whose runs have finished with accuracies that depend on variant, point and seed.
#[test]
fn validation_chooses_the_point_and_the_table_compares_seed_by_seed() {
    let text =
        format!("{TWO}grid = {{ \"optimizer.base.lr\" = [0.1, 0.2] }}\n[selection]\nseeds = [9, 10]\n");
    let (folder, plan) = plan(&text).unwrap();
    let mut ledger = ledger::Ledger::open(folder.path(), "s", "id").unwrap();
    let trials = plan.trials().unwrap();
    assert_eq!(trials.len(), 4);
    let finished = |run: &plan::Run, accuracy: f64| {
        let test = lookbehind_proto::json::TestJson { loss: 0.5, accuracy, samples: 100 };
        let result = crate::output::best::TestResult { outer_step: 20, metrics: test };
        ledger::Record {
            key: run.key.clone(),
            variant: plan.name_of(run.variant, run.point),
            seed: run.seed,
            failed: None,
            digest: "d".to_owned(),
            outer_steps: 20,
            samples: 1000,
            gradients: 60,
            last: Some(test),
            best: Some(result),
            selected: Some(crate::output::best::Selected {
                outer_step: 20,
                validation: test,
                test: Some(test),
            }),
            validation: Some(test),
            clean: None,
            memorised: None,
            wall_seconds: 1.0,
            compute_seconds: 0.5,
            evaluation: vec![ledger::Measured {
                measure: "noise additive frozen".to_owned(),
                at: Some(0.1),
                quantity: "accuracy".to_owned(),
                value: Some(accuracy - 0.1),
            }],
            curve: vec![ledger::Point { gradients: 60, test: Some(accuracy), validation: None }],
            build: "0".to_owned(),
            job: run.source.file().clone(),
        }
    };
    for run in &trials {
        ledger.add(finished(run, if run.point == 1 { 0.8 } else { 0.7 })).unwrap();
    }
    let points = choose(&plan, &trials, &ledger);
    assert_eq!(points, [0, 1]);
    let runs = plan.comparisons(&points).unwrap();
    for run in &runs {
        let gain = if run.variant == 1 { 0.01 + 0.001 * run.seed as f64 } else { 0.0 };
        ledger.add(finished(run, 0.9 + 0.01 * run.seed as f64 + gain)).unwrap();
    }
    let rows = rows(&plan, &runs, &points, &ledger);
    let difference = rows[1].difference.unwrap();
    assert!((difference.mean - 1.2).abs() < 1e-9 && difference.n == 3);
    assert!(rows[0].difference.is_none());
    let confounds = rows[1].confounds;
    let near = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-12;
    assert!((confounds.alpha_k_lr - 0.2).abs() < 1e-12, "0.5 · 2 · 0.2");
    assert!(near(confounds.effective_rho, 0.15) && near(confounds.path, 0.2));
    let text = markdown(&plan, &rows, &runs, &ledger);
    assert!(text.contains("| lookbehind (lr = 0.2) | 3 | 93.20 ± 1.10 |"), "{text}");
    assert!(text.contains("+1.20 ± 0.25"), "{text}");
    assert_eq!(csv(&rows).lines().count(), 3);
    assert!(
        csv(&rows)
            .lines()
            .all(|line| line.matches(',').count() == csv(&rows).lines().next().unwrap().matches(',').count())
    );
    assert!(curves_picture(&plan, &runs, &ledger).contains("lookbehind"));
    let evaluated = evaluation_rows(&plan, &runs, &ledger);
    assert_eq!(evaluated.iter().map(|row| row.model.as_str()).collect::<Vec<_>>(), ["sgd", "lookbehind"]);
    assert!((evaluated[0].spread.mean - 0.82).abs() < 1e-9 && evaluated[0].difference.is_none());
    let difference = evaluated[1].difference.unwrap();
    assert!((difference.mean - 0.012).abs() < 1e-9 && difference.n == 3, "{difference:?}");
}

#[test]
fn an_evaluation_is_checked_before_anything_is_trained_and_belongs_to_the_runs_that_are_compared() {
    for (evaluate, problem) in [
        (
            "sharpness = { measures = [\"one_step\"], radii = [0.0] }",
            "radii: expected numbers above 0, found 0",
        ),
        (
            "sharpness = { measures = [\"one_step\"], radii = [nan] }",
            "radii: expected numbers above 0, found NaN",
        ),
        ("sharpness = { measures = [\"one_step\"] }", "radii: expected 1 to 64 entries, found 0"),
        ("sharpness = { measures = [\"flatness\"], radii = [0.1] }", "flatness"),
        ("noise = [{ kind = \"additive\", levels = [-1.0] }]", "noise: expected 0 to 1000, found -1"),
        ("noise = [{ kind = \"shot\", levels = [1.0] }]", "shot"),
        ("hessian = { eigenvalues = 0 }", "eigenvalues: expected 1 to 64, found 0"),
        ("metric = \"accuracy\"", "unknown field `metric`"),
    ] {
        let found = refusal(&format!("[evaluate]\n{evaluate}\n{TWO}"));
        assert!(found.contains(problem), "{evaluate}: {found}");
    }
    let found = of_text(&format!("{}{TWO}", JOB.replace("\"selected\"", "\"top1\""))).err().unwrap();
    assert!(found.contains("unknown variant `top1`, expected one of `last`, `best`, `selected`"), "{found}");
    let key = |text: &str, is_trial| plan(text).unwrap().1.run(0, 0, 1, is_trial).unwrap().key;
    let evaluating = format!("[evaluate]\nhessian = {{}}\n{TWO}");
    assert_ne!(key(TWO, false), key(&evaluating, false));
    assert_eq!(key(TWO, true), key(&evaluating, true), "trials are not evaluated");
}

#[test]
fn the_studies_of_the_repository_are_valid() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../studies");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            Plan::read(&path, 1).unwrap_or_else(|error| panic!("{error}"));
            found += 1;
        }
    }
    assert!(found >= 5, "{found} studies");
}
