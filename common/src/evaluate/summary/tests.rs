use super::*;
use crate::evaluate::{BatchStatistics, Noise, NoiseKind, Request, Scores, Sizes};

fn plan(levels: &[f64]) -> Plan {
    let mut request = Request::plain(1);
    let statistics = vec![BatchStatistics::Frozen];
    request.noise = vec![Noise { kind: NoiseKind::Additive, levels: levels.to_vec(), draws: 3, statistics }];
    Plan::new(request, Sizes { split: 10, train: 10, batch: 5 })
}

/// Records with the given accuracies: of the model itself, and for each level of its draws.
fn records(clean: f64, levels: &[(f64, &[f64])]) -> Vec<Record> {
    let mut records = vec![Record::Scores(Scores {
        samples: 10,
        loss: 0.5,
        accuracy: clean,
        top5_accuracy: None,
        calibration_error: 0.1,
        class_accuracies: Vec::new(),
        confusion: Vec::new(),
        reliability: Vec::new(),
    })];
    for (level, accuracies) in levels {
        records.extend((0..).zip(*accuracies).map(|(draw, &accuracy)| Record::Noise {
            kind: NoiseKind::Additive,
            statistics: BatchStatistics::Frozen,
            level: *level,
            draw,
            loss: 1.0 - accuracy,
            accuracy,
        }));
    }
    records
}

fn find<'a>(rows: &'a [Row], model: &str, quantity: &str, at: Option<f64>) -> &'a Row {
    let found = rows.iter().find(|row| {
        row.model == model && row.quantity == quantity && row.at == at && row.measure.starts_with("noise")
    });
    found.expect("a row")
}

#[test]
fn curves_have_an_area_and_a_level_at_half_accuracy() {
    let levels: [(f64, &[f64]); 3] = [(0.0, &[0.8]), (1.0, &[0.6, 0.4, 0.8]), (3.0, &[0.2, 0.0, 0.4])];
    let models = [("a".to_owned(), records(0.8, &levels))];
    let rows = summarise(&plan(&[0.0, 1.0, 3.0]), &models, None);
    let accuracy = find(&rows, "a", "accuracy", Some(1.0)).spread;
    assert!(
        accuracy.n == 3 && (accuracy.mean - 0.6).abs() < 1e-12 && (accuracy.std.unwrap() - 0.2).abs() < 1e-12
    );
    assert!((find(&rows, "a", "accuracy_drop", Some(1.0)).spread.mean - 0.2).abs() < 1e-12);
    // (0.7 · 1 + 0.4 · 2) / 3 of the means.
    let area = find(&rows, "a", "area", None).spread;
    assert!(area.n == 3 && (area.mean - 0.5).abs() < 1e-12, "{area:?}");
    // Accuracy 0.4 lies half way between the levels 1 and 3.
    assert!((find(&rows, "a", "level_at_half_accuracy", None).spread.mean - 2.0).abs() < 1e-12);
}

#[test]
fn models_are_compared_in_pairs() {
    let levels: [(f64, &[f64]); 1] = [(1.0, &[0.6, 0.4, 0.8])];
    let better: [(f64, &[f64]); 1] = [(1.0, &[0.7, 0.5, 0.9])];
    let models = [("a".to_owned(), records(0.8, &levels)), ("b".to_owned(), records(0.8, &better))];
    let rows = summarise(&plan(&[1.0]), &models, Some(0));
    assert_eq!(find(&rows, "a", "accuracy", Some(1.0)).difference, None);
    let difference = find(&rows, "b", "accuracy", Some(1.0)).difference.unwrap();
    // The draws are shared, so their spread cancels.
    assert!((difference.mean - 0.1).abs() < 1e-12 && difference.half_width.unwrap() < 1e-6, "{difference:?}");
    assert!(difference.holm_p.is_some());
    // A level that is never reached has no number, and the rows stay in step.
    assert!(find(&rows, "a", "level_at_half_accuracy", None).spread.mean.is_nan());
}
