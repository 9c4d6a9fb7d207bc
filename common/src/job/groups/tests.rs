use super::*;
use crate::layout::TensorKind;

fn group(tensors: &[&str]) -> Group {
    Group { tensors: tensors.iter().map(|&pattern| pattern.to_owned()).collect(), ..Group::default() }
}

fn groups(list: Vec<Group>) -> Groups {
    Groups { list, ..Groups::default() }
}

fn tensor(name: &str, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), shape: shape.to_vec(), kind: TensorKind::Parameter }
}

fn layout() -> Layout {
    let mean = TensorSpec { kind: TensorKind::RunningStatistic, ..tensor("bn1.running_mean", &[4]) };
    let tensors = [
        tensor("conv1.weight", &[4, 3, 3, 3]),
        tensor("bn1.weight", &[4]),
        mean,
        tensor("linear.weight", &[2, 4]),
        tensor("linear.bias", &[2]),
    ];
    Layout::new(tensors).unwrap()
}

#[test]
fn a_star_stands_for_any_characters_and_a_question_mark_for_one() {
    for (pattern, name) in [
        ("*", "a.b"),
        ("conv1.weight", "conv1.weight"),
        ("*.bias", "layer1.0.bias"),
        ("layer?.*.bias", "layer1.0.conv1.bias"),
        ("*a*b*", "xaayb"),
        ("*ab", "aab"),
        ("a*", "a"),
        ("?", "ä"),
    ] {
        assert!(matches(pattern, name), "{pattern} {name}");
    }
    for (pattern, name) in
        [("conv", "conv1"), ("*.bias", "bias"), ("?", ""), ("", "a"), ("a?", "a"), ("*b", "bc"), ("A", "a")]
    {
        assert!(!matches(pattern, name), "{pattern} {name}");
    }
}

#[test]
fn a_tensor_takes_each_key_from_the_last_group_that_has_it() {
    let frozen = Group { frozen: Some(true), lr_factor: Some(0.1), ..group(&["*"]) };
    let head = Group { frozen: Some(false), weight_decay: Some(0.5), ..group(&["linear.*"]) };
    let bias = Group { ascent: Some(false), ..group(&["nothing", "*.bias"]) };
    let groups = groups(vec![frozen, head, bias]);
    let rule = |name| groups.rule(&tensor(name, &[2]));
    let common = TensorRule { lr_factor: 0.1, weight_decay: Some(0.5), frozen: false, ascends: true };
    assert_eq!(rule("linear.weight"), common);
    assert_eq!(rule("linear.bias"), TensorRule { ascends: false, ..common });
    // What is frozen does not ascend either.
    let frozen = TensorRule { lr_factor: 0.1, weight_decay: None, frozen: true, ascends: false };
    assert_eq!(rule("conv1.weight"), frozen);
}

#[test]
fn biases_and_norms_are_exempt_from_decay_unless_a_group_says_otherwise() {
    let bn1 = Group { weight_decay: Some(0.3), ..group(&["bn1.*"]) };
    let groups = Groups { decay_biases_and_norms: false, list: vec![bn1] };
    let decay = |name, shape: &[usize]| groups.rule(&tensor(name, shape)).weight_decay;
    assert_eq!(decay("linear.weight", &[2, 4]), None);
    assert_eq!(decay("linear.bias", &[2]), Some(0.0));
    assert_eq!(decay("scale", &[]), Some(0.0));
    assert_eq!(decay("bn1.weight", &[4]), Some(0.3));
    assert_eq!(Groups::default().rule(&tensor("linear.bias", &[2])).weight_decay, None);
}

#[test]
fn groups_that_do_not_fit_the_model_are_refused_by_name() {
    let refused = |list, ascends| groups(list).check(&layout(), ascends).unwrap_err().to_string();
    assert_eq!(
        refused(vec![group(&["*"]), group(&["linear.*", "conv1.weigth"])], true),
        "optimizer.groups[1].tensors: \"conv1.weigth\" matches no parameter of the model; did you mean \
         \"conv1.weight\"?"
    );
    // A running statistic is no parameter.
    assert!(refused(vec![group(&["*.running_mean"])], true).contains("matches no parameter"));
    let frozen = Group { frozen: Some(true), ..group(&["*"]) };
    assert!(refused(vec![frozen], true).contains("at least one parameter that is not frozen"));
    let excluded = Group { ascent: Some(false), ..group(&["*"]) };
    assert!(refused(vec![excluded.clone()], true).contains("takes part in the ascent"));
    groups(vec![excluded]).check(&layout(), false).unwrap();
    groups(vec![group(&["*.weight"])]).check(&layout(), true).unwrap();
}
