use super::*;
use crate::job::JobSource;

fn record(key: &str, seed: u64) -> Record {
    Record {
        key: key.to_owned(),
        variant: "sgd".to_owned(),
        seed,
        failed: None,
        digest: "d".repeat(64),
        outer_steps: 3,
        samples: 30,
        gradients: 3,
        last: Some(TestJson { loss: 0.5, accuracy: 0.75, samples: 8 }),
        best: None,
        selected: None,
        validation: None,
        clean: None,
        memorised: None,
        wall_seconds: 1.5,
        compute_seconds: 1.0,
        evaluation: vec![Measured {
            measure: "hessian".to_owned(),
            at: Some(1.0),
            quantity: "eigenvalue".to_owned(),
            value: Some(0.1 + 0.2),
        }],
        curve: vec![Point { gradients: 3, test: Some(0.75), validation: None }],
        build: "0".to_owned(),
        job: JobSource::embedded(&[]).unwrap().file().clone(),
    }
}

#[test]
fn finished_runs_are_there_when_the_study_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), "s", "one").unwrap();
    ledger.add(record("a", 1)).unwrap();
    drop(ledger);
    let again = Ledger::open(folder.path(), "s", "two").unwrap();
    assert_eq!((again.get("a"), again.id.as_str()), (Some(&record("a", 1)), "one"));
    assert_eq!(again.get("b"), None);
}

#[test]
fn a_line_that_was_not_written_to_its_end_is_that_of_a_run_to_do_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), "s", "one").unwrap();
    ledger.add(record("a", 1)).unwrap();
    ledger.add(record("b", 2)).unwrap();
    drop(ledger);
    let path = folder.path().join(RUNS);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 5]).unwrap();
    let mut again = Ledger::open(folder.path(), "s", "two").unwrap();
    assert!(again.get("a").is_some() && again.get("b").is_none());
    again.add(record("b", 2)).unwrap();
    drop(again);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn another_study_and_a_second_command_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path(), "s", "one").unwrap();
    let error = Ledger::open(folder.path(), "s", "two").err().unwrap().to_string();
    assert!(error.contains("another command"), "{error}");
    drop(ledger);
    let error = Ledger::open(folder.path(), "t", "two").err().unwrap().to_string();
    assert!(error.contains("\"s\"") && error.contains("\"t\""), "{error}");
}

#[test]
fn a_line_of_something_else_is_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(Ledger::open(folder.path(), "s", "one").unwrap());
    let path = folder.path().join(RUNS);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}{{}}\n")).unwrap();
    let error = Ledger::open(folder.path(), "s", "one").err().unwrap().to_string();
    assert!(error.contains("line 2"), "{error}");
}
