use std::fs;

use lookbehind_common::evaluate::{Difference, EvaluatedSplit, Record, Row, Sizes, Spread, Unit};
use lookbehind_worker::data::DataDescription;
use tempfile::TempDir;

use super::*;
use crate::error::CliError;
use crate::fake_test::source;

fn evaluation(seed: u64) -> Evaluation {
    let plan = Plan::new(Request::plain(seed), Sizes { split: 10, train: 20, batch: 5 });
    let description = DataDescription {
        train_samples: 20,
        test_samples: 10,
        input_shape: vec![2],
        classes: 2,
        fingerprint: Digest::of(b"data"),
    };
    let models = vec![Evaluated { name: "a".to_owned(), digest: Digest::of(b"a") }];
    Evaluation::new(&plan, models, &DataReport::of(&description))
}

fn record(value: f64) -> Record {
    Record::Trace { probe: 1, value }
}

fn prepare(folder: &TempDir, seed: u64) -> EvaluationFolder {
    EvaluationFolder::prepare(folder.path(), &evaluation(seed), &source().spec, false).unwrap()
}

#[test]
fn an_interrupted_evaluation_goes_on_and_another_begins_anew() {
    let folder = TempDir::new().unwrap();
    let mut first = prepare(&folder, 1);
    first.keep(0, 3, &record(2.5)).unwrap();
    first.keep(0, 1, &record(f64::NAN)).unwrap();
    drop(first);
    // A line that the interruption has cut off.
    let path = folder.path().join("unfinished.jsonl");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"model\":0,\"unit\":2,\"rec");
    fs::write(&path, text).unwrap();
    for _ in 0..2 {
        let known = prepare(&folder, 1).take_known();
        assert_eq!(known.len(), 2);
        assert_eq!(known[&(0, 3)], record(2.5));
        assert!(matches!(known[&(0, 1)], Record::Trace { value, .. } if value.is_nan()));
    }
    assert!(prepare(&folder, 2).take_known().is_empty());
    // And that one has replaced what was there.
    assert!(prepare(&folder, 1).take_known().is_empty());
}

#[test]
fn files_of_others_are_not_touched() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("mine.txt"), "mine").unwrap();
    let refused = EvaluationFolder::prepare(folder.path(), &evaluation(1), &source().spec, false);
    assert!(matches!(refused, Err(CliError::Occupied { .. })));
    let forced = EvaluationFolder::prepare(folder.path(), &evaluation(1), &source().spec, true).unwrap();
    forced.finish(&evaluation(1), &[("a".to_owned(), vec![record(1.0)])], &[]).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("mine.txt")).unwrap(), "mine");
    assert!(!folder.path().join("unfinished.jsonl").exists());
}

fn row(model: &str, at: f64, mean: f64) -> Row {
    let spread = Spread { n: 4, mean, std: Some(0.1), min: mean, p5: mean };
    let difference = Some(Difference {
        n: 4,
        mean: 0.1,
        std: Some(0.05),
        half_width: Some(0.1),
        holm_half_width: Some(0.15),
        p: Some(0.01),
        holm_p: Some(0.02),
    });
    let measure = "noise additive frozen".to_owned();
    Row {
        model: model.to_owned(),
        measure,
        at: Some(at),
        quantity: "accuracy".to_owned(),
        spread,
        difference,
    }
}

#[test]
fn names_of_models_do_no_harm_in_tables_and_pictures() {
    let name = "a|b<i>,\"c\"\u{1b}[2J";
    let rows = [row(name, 0.1, 0.9), row(name, 0.2, 0.8)];
    let table = report::table(&rows).join("\n");
    assert!(!table.contains('\u{1b}') && table.contains("0.90000"), "{table}");
    let csv = String::from_utf8(report::csv(&rows).unwrap()).unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let read: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!((&read[0][0], &read[0][5], &read[1][14]), (name, "0.9", "0.02"));
    let text = report::markdown(&evaluation(1), &[], &rows);
    assert!(text.contains("a\\|b<i>") && !text.contains('\u{1b}'), "{text}");
    let pictures = curves::draw(&rows);
    let [(file, picture)] = &pictures[..] else { panic!("{} pictures", pictures.len()) };
    assert_eq!(file, "noise-additive-frozen-accuracy.svg");
    assert!(picture.starts_with("<svg") && !picture.contains("<i>") && !picture.contains('\u{1b}'));
}

#[test]
fn curves_need_two_points_that_are_numbers() {
    assert!(curves::draw(&[row("a", 0.1, 0.9)]).is_empty());
    assert!(curves::draw(&[row("a", 0.1, 0.9), row("a", 0.2, f64::NAN)]).is_empty());
    assert_eq!(curves::draw(&[row("a", 0.1, 0.5), row("a", 0.2, 0.5)]).len(), 1);
}

#[test]
fn the_cost_counts_all_models() {
    let evaluation = evaluation(1);
    assert_eq!((evaluation.gradient_samples, evaluation.forward_samples), (0, 10));
    assert_eq!(evaluation.request.split, EvaluatedSplit::Test);
    assert_eq!(Plan::new(Request::plain(1), Sizes { split: 1, train: 1, batch: 1 }).units, [Unit::Scores]);
}
