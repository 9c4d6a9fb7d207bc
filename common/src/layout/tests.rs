//! Tests of which lists of tensors are layouts.

use super::*;

fn tensor(name: &str, shape: &[usize], kind: TensorKind) -> TensorSpec {
    TensorSpec { name: name.into(), shape: shape.into(), kind }
}

fn parameter(name: &str, shape: &[usize]) -> TensorSpec {
    tensor(name, shape, TensorKind::Parameter)
}

fn refused(tensors: Vec<TensorSpec>) -> LayoutError {
    Layout::new(tensors).expect_err("an impossible layout")
}

#[test]
fn parameters_and_running_statistics_lie_one_after_the_other_each_in_their_own_flat_buffer() {
    let layout = Layout::new([
        parameter("a", &[2, 3]),
        tensor("mean", &[4], TensorKind::RunningStatistic),
        parameter("b", &[]),
        tensor("var", &[4], TensorKind::RunningStatistic),
        parameter("c", &[5]),
    ])
    .expect("a valid layout");
    let ranges: Vec<_> = layout.entries().iter().map(|entry| entry.range.clone()).collect();
    assert_eq!(ranges, [0..6, 0..4, 6..7, 4..8, 7..12]);
    assert_eq!((layout.parameters(), layout.statistics()), (12, 8));
    let names: Vec<_> = layout.parameter_entries().map(|entry| entry.spec.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn names_that_cannot_be_stored_or_shown_are_refused() {
    let long = "x".repeat(257);
    for name in ["", ".hidden", "a/b", "a\\b", "line\nbreak", "nul\0", "__metadata__", long.as_str()] {
        let error = refused(vec![parameter(name, &[1])]);
        let shown = name.chars().take(64).collect();
        assert_eq!(error, LayoutError::BadName { name: shown });
    }
    assert!(Layout::new([parameter(&long[..256], &[1]), parameter("größe.weight", &[1])]).is_ok());
}

#[test]
fn shapes_without_elements_or_with_too_many_are_refused() {
    for shape in [vec![0], vec![3, 0], vec![usize::MAX, 2], vec![1 << 41], vec![1 << 40, 1 << 40]] {
        let error = refused(vec![parameter("a", &shape)]);
        let shape = shape.iter().map(|&extent| extent as u64).collect();
        assert_eq!(error, LayoutError::BadShape { name: "a".into(), shape });
    }
}

#[test]
fn a_name_that_stands_twice_is_refused_whatever_the_kinds() {
    let again = vec![parameter("a", &[1]), tensor("a", &[2], TensorKind::RunningStatistic)];
    assert_eq!(refused(again), LayoutError::Duplicate { name: "a".into() });
}

#[test]
fn a_model_without_parameters_is_refused() {
    assert_eq!(refused(vec![]), LayoutError::NoParameters);
    assert_eq!(refused(vec![tensor("mean", &[1], TensorKind::RunningStatistic)]), LayoutError::NoParameters);
}

#[test]
fn too_many_tensors_or_elements_are_refused() {
    let many = (0..=100_000).map(|i| parameter(&format!("t{i}"), &[1])).collect();
    assert_eq!(refused(many), LayoutError::TooMany { found: 100_001 });
    let large = vec![parameter("a", &[1 << 40]), parameter("b", &[1])];
    assert_eq!(refused(large), LayoutError::TooMany { found: 2 });
}
