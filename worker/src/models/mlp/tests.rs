use candle_core::Device;
use lookbehind_common::model_state::ModelState;
use serde_json::{Value, json};

use super::*;
use crate::models::BuildError;
use crate::models::{BatchPosition, Mode};
use crate::parameters::ModelTensors;
use crate::test_support::{build_model, names_and_shapes};

fn build(mut model: Value) -> Built<(Box<dyn Model>, ModelTensors)> {
    model["kind"] = "mlp".into();
    build_model(model, &[2, 2], 3)
}

#[test]
fn tensors_have_pytorchs_names_and_shapes() {
    let (_, tensors) = build(json!({ "hidden": [5, 6] })).unwrap();
    let expected = [
        ("layers.0.weight", vec![5, 4]),
        ("layers.0.bias", vec![5]),
        ("layers.1.weight", vec![6, 5]),
        ("layers.1.bias", vec![6]),
        ("layers.2.weight", vec![3, 6]),
        ("layers.2.bias", vec![3]),
    ];
    assert_eq!(names_and_shapes(&tensors), expected.map(|(name, shape)| (name.to_owned(), shape)));
}

#[test]
fn initial_weights_fill_the_range_that_pytorch_draws_from() {
    let (_, tensors) = build(json!({ "hidden": [400] })).unwrap();
    let parameters = tensors.initial(1).parameters;
    for entry in tensors.layout().entries() {
        let fan_in = if entry.spec.name.starts_with("layers.0") { 4.0_f32 } else { 400.0 };
        let bound = 1.0 / fan_in.sqrt();
        let greatest =
            parameters[entry.range.clone()].iter().fold(0.0_f32, |greatest, x| greatest.max(x.abs()));
        assert!(greatest <= bound, "{}: {greatest}", entry.spec.name);
        assert!(entry.spec.shape == [3] || greatest > 0.9 * bound, "{}: {greatest}", entry.spec.name);
    }
}

#[test]
fn the_forward_pass_is_affine_maps_with_relu_between() {
    let (model, tensors) = build(json!({ "hidden": [2] })).unwrap();
    let weight = [1.0, 0.0, 0.0, 0.0, /**/ 0.0, -1.0, 0.0, 0.0];
    let output = [1.0, 0.0, /**/ 0.0, 1.0, /**/ 1.0, 1.0];
    let parameters = [&weight[..], &[0.5, 0.5], &output, &[0.0, 0.0, 10.0]].concat();
    tensors.load(ModelState { parameters: &parameters, statistics: &[] }).unwrap();
    let inputs =
        Tensor::new(&[[[2.0_f32, 3.0], [9.0, 9.0]], [[-4.0, -1.0], [9.0, 9.0]]], &Device::Cpu).unwrap();
    let context = ForwardContext::new(Mode::Test, BatchPosition::default(), &[0, 1]);
    let logits = model.forward(&inputs, &context).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(logits, [[2.5, 0.0, 12.5], [0.0, 1.5, 11.5]]);
}

#[test]
fn without_hidden_layers_it_is_a_linear_classifier() {
    let (_, tensors) = build(json!({ "hidden": [] })).unwrap();
    assert_eq!(tensors.layout().parameters(), 4 * 3 + 3);
}

#[test]
fn parameters_are_refused_by_their_path() {
    for (given, expected) in [
        (json!({}), "hidden"),
        (json!({ "hidden": 5 }), "model.hidden"),
        (json!({ "hidden": [5, "x"] }), "model.hidden[1]"),
        (json!({ "hidden": [5, 0] }), "model.hidden[1]: expected 1 to 16777216 units, found 0"),
        (json!({ "hidden": [5, -3] }), "model.hidden[1]"),
        (json!({ "hidden": [1_u64 << 60] }), "model.hidden[0]"),
        (json!({ "hidden": vec![1; 1001] }), "at most 1000 layers, found 1001"),
        (json!({ "hidden": [5], "width": 3 }), "width"),
    ] {
        let error = build(given).err().unwrap();
        assert!(matches!(error, BuildError::Parameter(_)));
        assert!(error.to_string().contains(expected), "{error}");
    }
}
