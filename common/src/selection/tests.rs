use super::*;
use crate::job::parse_toml;

fn criteria(keys: &str) -> Criteria {
    let text = format!(
        "name = \"a\"\nmodel.kind = \"mlp\"\ndata.kind = \"digits\"\n[train]\nepochs = 9\nbatch_size = 4\n[optimizer]\n\
         method = \"sgd\"\nbase.lr = 0.1\n{keys}"
    );
    Criteria::of(&parse_toml(&text).unwrap().validate().unwrap())
}

/// Sums over 100 samples.
fn sums(loss: f64, correct: u64) -> Sums {
    Sums { loss: 100.0 * loss, correct, samples: 100, ..Sums::default() }
}

/// The outer steps of the checkpoints that were the best ones when they came, and the one at which training ends.
fn chosen(criteria: &Criteria, evaluations: &[(f64, u64)]) -> (Vec<u64>, Option<u64>) {
    let (mut selection, mut kept) = (Selection::default(), Vec::new());
    for (step, (loss, correct)) in (1..).zip(evaluations) {
        if selection.note(criteria, step, |_| Some(sums(*loss, *correct))) {
            kept.push(step);
            assert_eq!(selection.best().map(|best| best.outer_step), Some(step));
        }
        if selection.stops(criteria).is_some() {
            return (kept, Some(step));
        }
    }
    (kept, None)
}

#[test]
fn the_first_of_the_best_is_kept_by_loss_and_by_accuracy() {
    let evaluations = [(0.9, 50), (0.5, 60), (0.5, 70), (0.7, 70), (0.4, 65)];
    assert_eq!(chosen(&criteria("[checkpoint]\nkeep_best = \"test_loss\""), &evaluations).0, [1, 2, 5]);
    assert_eq!(
        chosen(&criteria("[checkpoint]\nkeep_best = \"validation_accuracy\""), &evaluations).0,
        [1, 2, 3]
    );
    assert_eq!(chosen(&criteria(""), &evaluations), (vec![], None));
}

#[test]
fn training_ends_after_as_many_evaluations_that_are_no_better_by_enough() {
    let stopping = |keys: &str| criteria(&format!("[early_stopping]\nmetric = \"test_loss\"\n{keys}"));
    let evaluations = [(1.0, 0), (0.9, 0), (0.89, 0), (0.88, 0), (0.5, 0), (0.6, 0), (0.6, 0)];
    assert_eq!(chosen(&stopping("patience = 2"), &evaluations).1, Some(7));
    assert_eq!(chosen(&stopping("patience = 3"), &evaluations).1, None);
    assert_eq!(chosen(&stopping("patience = 2\nmin_delta = 0.05"), &evaluations).1, Some(4));
}

#[test]
fn values_that_are_not_finite_are_never_the_best() {
    let keys =
        "[checkpoint]\nkeep_best = \"test_loss\"\n[early_stopping]\nmetric = \"test_loss\"\npatience = 2";
    let of = |evaluations: &[(f64, u64)]| chosen(&criteria(keys), evaluations);
    assert_eq!(of(&[(f64::NAN, 0), (f64::INFINITY, 0)]), (vec![], Some(2)));
    assert_eq!(of(&[(f64::NAN, 0), (2.0, 0), (f64::NAN, 0), (f64::NAN, 0)]), (vec![2], Some(4)));
}

#[test]
fn without_results_for_a_criterion_nothing_changes() {
    let criteria = criteria("[checkpoint]\nkeep_best = \"validation_loss\"");
    let mut selection = Selection::default();
    assert!(!selection.note(&criteria, 1, |set| (set == TestSet::Test).then(|| sums(0.1, 9))));
    assert_eq!(selection, Selection::default());
}

#[test]
fn what_is_known_is_the_same_after_it_was_written_and_read() {
    let criteria = criteria(
        "[checkpoint]\nkeep_best = \"test_loss\"\n[early_stopping]\nmetric = \"test_loss\"\npatience = 2",
    );
    let mut selection = Selection::default();
    selection.note(&criteria, 1, |_| Some(sums(0.1 + 0.2, 9)));
    selection.note(&criteria, 2, |_| Some(sums(0.4, 9)));
    let text = serde_json::to_string(&selection).unwrap();
    assert_eq!(serde_json::from_str::<Selection>(&text).unwrap(), selection);
}

#[test]
fn every_name_is_read_as_itself() {
    for criterion in Criterion::ALL {
        assert_eq!(Criterion::parse(criterion.as_str()), Some(criterion));
        assert_eq!(serde_json::to_string(&criterion).unwrap(), format!("\"{}\"", criterion.as_str()));
    }
    assert_eq!(Criterion::parse("loss"), None);
}
