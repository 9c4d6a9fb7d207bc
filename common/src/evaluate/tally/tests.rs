use super::*;

#[test]
fn predictions_are_counted_by_class() {
    let mut tally = Tally::new(3);
    tally.add(&[2.0, 1.0, 0.0], 0, 0.5);
    tally.add(&[2.0, 1.0, 0.0], 1, 1.5);
    tally.add(&[1.0, 1.0, 0.0], 1, 1.0);
    tally.add(&[0.0, 1.0, f32::NAN], 1, f64::NAN);
    assert_eq!((tally.samples, tally.correct), (4, 1));
    assert_eq!(tally.confusion, [1, 0, 0, 2, 0, 0, 0, 0, 0]);
    assert_eq!(tally.class_accuracies(), [Some(1.0), Some(0.0), None]);
    assert_eq!(tally.accuracy(), 0.25);
    assert!(tally.mean_loss().is_nan());
}

#[test]
fn five_classes_count_where_there_are_ten() {
    let mut tally = Tally::new(10);
    let logits: Vec<f32> = (0..10).map(|class| class as f32).collect();
    (0..10).for_each(|target| tally.add(&logits, target, 0.0));
    assert_eq!(tally.top_accuracy(), Some(0.5));
    let mut equal = Tally::new(10);
    (0..10).for_each(|target| equal.add(&[0.0; 10], target, 0.0));
    assert_eq!(equal.top_accuracy(), Some(0.5));
    assert_eq!(Tally::new(9).top_accuracy(), None);
}

#[test]
fn calibration_is_the_distance_of_confidence_and_accuracy() {
    // Probability 3/4 of the first class, and right in one of two.
    let logits = [3.0_f32.ln(), 0.0];
    let mut tally = Tally::new(2);
    tally.add(&logits, 0, 0.0);
    tally.add(&logits, 1, 0.0);
    assert!((tally.calibration_error() - 0.25).abs() < 1e-6);
    let bins = tally.reliability();
    assert_eq!(bins.iter().flatten().count(), 1);
    let (samples, confidence, accuracy) = bins[11].expect("0.75 lies in the twelfth of fifteen bins");
    assert!(samples == 2 && (confidence - 0.75).abs() < 1e-6 && accuracy == 0.5);
}

#[test]
fn many_classes_have_no_table_of_confusion() {
    let mut tally = Tally::new(2000);
    tally.add(&vec![0.0; 2000], 0, 0.0);
    assert!(tally.confusion.is_empty());
    assert_eq!((tally.class_accuracies()[0], tally.class_accuracies()[1]), (Some(1.0), None));
}
