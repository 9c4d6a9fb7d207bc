use lookbehind_common::layout::TensorSpec;

use super::*;

fn layout() -> Layout {
    let tensor =
        |name: &str, elements: usize, kind| TensorSpec { name: name.into(), shape: vec![elements], kind };
    let tensors = [
        tensor("first.weight", 3, TensorKind::Parameter),
        tensor("norm.running_mean", 5, TensorKind::RunningStatistic),
        tensor("second.weight", 2, TensorKind::Parameter),
    ];
    Layout::new(tensors).unwrap()
}

fn partial(gradient: &[f32]) -> Partial {
    let statistics = vec![1.0 + f32::EPSILON; 5].into();
    Partial { gradient: gradient.to_vec().into(), statistics, ..Partial::default() }
}

#[test]
fn only_gradients_are_rounded() {
    let mut found = partial(&[1.0 + f32::EPSILON; 5]);
    let exact = found.clone();
    Rounding::new(ExchangeFormat::F32, layout(), "mlp").round(0, &mut found).unwrap();
    assert_eq!(found, exact);
    Rounding::new(ExchangeFormat::Bf16, layout(), "mlp").round(0, &mut found).unwrap();
    assert_eq!(found, Partial { gradient: vec![1.0; 5].into(), ..exact });
}

#[test]
fn a_value_that_becomes_infinite_is_named_by_shard_and_tensor_also_in_a_visit() {
    let rounding = Rounding::new(ExchangeFormat::Bf16, layout(), "mlp");
    let mut values = [0.5; 10];
    for (at, named) in [
        (1, "\"first.weight\": value 1"),
        (4, "\"second.weight\": value 1"),
        (8, "\"second.weight\": value 0"),
    ] {
        values[at] = -f32::MAX;
        let said = rounding.round(7, &mut partial(&values)).unwrap_err().to_string();
        let expected = format!(
            "model kind \"mlp\", shard 7: gradient of tensor {named} becomes infinite when it is rounded to bf16 (train.exchange)"
        );
        assert_eq!(said, expected);
        values[at] = 0.5;
    }
}
