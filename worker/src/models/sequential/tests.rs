use lookbehind_common::model_state::ModelState;
use serde_json::{Value, json};

use super::*;
use crate::models::{BatchPosition, Mode};
use crate::test_support::{build_model, names_and_shapes, refusal};

fn of(layers: Value) -> Value {
    json!({ "kind": "sequential", "layers": layers })
}

#[test]
fn tensors_are_named_by_the_numbers_of_their_layers() {
    let layers = json!([
        { "kind": "conv2d", "out_channels": 4, "kernel_size": 3, "stride": 2, "padding": 1 },
        { "kind": "residual", "body": [
            { "kind": "relu" },
            { "kind": "conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1, "groups": 2, "bias": false },
        ], "shortcut": [{ "kind": "conv2d", "out_channels": 6, "kernel_size": 1, "bias": false }] },
        { "kind": "flatten" },
        { "kind": "batch_norm" },
        { "kind": "linear" },
    ]);
    let (_, tensors) = build_model(of(layers), &[3, 8, 8], 5).unwrap();
    let expected = [
        ("0.weight", vec![4, 3, 3, 3]),
        ("0.bias", vec![4]),
        ("1.body.1.weight", vec![6, 2, 3, 3]),
        ("1.shortcut.0.weight", vec![6, 4, 1, 1]),
        ("3.weight", vec![96]),
        ("3.bias", vec![96]),
        ("3.running_mean", vec![96]),
        ("3.running_var", vec![96]),
        ("4.weight", vec![5, 96]),
        ("4.bias", vec![5]),
    ];
    assert_eq!(names_and_shapes(&tensors), expected.map(|(name, shape)| (name.to_owned(), shape)));
}

#[test]
fn flatten_puts_the_channels_first() {
    let layers = json!([{ "kind": "flatten" }, { "kind": "linear", "bias": false }]);
    let (model, tensors) = build_model(of(layers), &[2, 1, 2], 4).unwrap();
    let identity: Vec<f32> = (0..16).map(|n| if n % 5 == 0 { 1.0 } else { 0.0 }).collect();
    tensors.load(ModelState { parameters: &identity, statistics: &[] }).unwrap();
    let inputs = Tensor::new(&[[[[1_f32, 2.0]], [[3.0, 4.0]]]], &candle_core::Device::Cpu).unwrap();
    let found =
        model.forward(&inputs, &ForwardContext::new(Mode::Test, BatchPosition::default(), &[0])).unwrap();
    assert_eq!(found.to_vec2::<f32>().unwrap(), [[1.0, 2.0, 3.0, 4.0]]);
}

#[test]
fn inputs_that_are_no_images_are_features() {
    let layers = json!([{ "kind": "tanh" }, { "kind": "linear" }]);
    for shape in [&[12][..], &[2, 1, 2, 3]] {
        let (model, tensors) = build_model(of(layers.clone()), shape, 5).unwrap();
        assert_eq!(names_and_shapes(&tensors)[0], ("1.weight".to_owned(), vec![5, 12]));
        let batch = [&[3], shape].concat();
        let inputs = Tensor::ones(batch, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let context = ForwardContext::new(Mode::Test, BatchPosition::default(), &[0, 1, 2]);
        assert_eq!(model.forward(&inputs, &context).unwrap().dims(), [3, 5]);
    }
}

#[test]
fn a_layer_that_does_not_fit_is_refused_with_its_place_what_it_got_and_what_it_needs() {
    let image = "got an image of 3 x 8 x 8 (channels x height x width)";
    for (layers, expected) in [
        (
            json!([{ "kind": "relu" }, { "kind": "linear" }]),
            format!("model.layers[1] (linear): {image}, expected features: put a flatten before it"),
        ),
        (
            json!([{ "kind": "flatten" }, { "kind": "conv2d", "out_channels": 4, "kernel_size": 3 }]),
            "model.layers[1] (conv2d): got 192 features, expected an image".to_owned(),
        ),
        (
            json!([{ "kind": "conv2d", "out_channels": 4, "kernel_size": 3, "dilation": 6, "padding": 1 }]),
            format!("model.layers[0] (conv2d): {image}, expected at least 13 pixels each way with the padding of 1"),
        ),
        (
            json!([{ "kind": "max_pool", "kernel_size": 9 }]),
            format!("model.layers[0] (max_pool): {image}, expected at least 9 pixels"),
        ),
        (
            json!([{ "kind": "layer_norm" }]),
            format!("model.layers[0] (layer_norm): {image}, expected features"),
        ),
        (
            json!([{ "kind": "conv2d", "out_channels": 4, "kernel_size": 3, "groups": 2 }]),
            "model.layers[0].groups: expected a divisor of the 3 channels that it gets and of the 4 that it gives"
                .to_owned(),
        ),
        (
            json!([{ "kind": "group_norm", "num_groups": 2 }]),
            "model.layers[0].num_groups: expected a divisor of the 3 channels that it gets, found 2".to_owned(),
        ),
        (
            json!([{ "kind": "residual", "body": [
                { "kind": "relu" }, { "kind": "conv2d", "out_channels": 4, "kernel_size": 1 }
            ] }]),
            "model.layers[0] (residual): the body gives an image of 4 x 8 x 8".to_owned(),
        ),
        (
            json!([{ "kind": "residual", "body": [{ "kind": "relu" }, { "kind": "linear" }] }]),
            format!("model.layers[0].body[1] (linear): {image}"),
        ),
        (
            json!([{ "kind": "flatten" }, { "kind": "linear", "out_features": 7 }]),
            "model.layers: the last layer gives 7 features, expected 5 features, one for each class".to_owned(),
        ),
        (
            json!([{ "kind": "conv2d", "out_channels": 16_777_216, "kernel_size": 1 }]),
            "model.layers[0] (conv2d): gives an image of 16777216 x 8 x 8".to_owned(),
        ),
    ] {
        let error = refusal(of(layers));
        assert!(error.contains(&expected), "{error}\nexpected {expected}");
    }
}

#[test]
fn a_shard_too_small_for_batch_normalisation_is_refused_with_the_layers_place() {
    let norm = json!({ "kind": "batch_norm" });
    let inside = json!({ "kind": "residual", "body": [norm] });
    for (layer, place) in [(norm, "model.layers[1]"), (inside, "model.layers[1].body[0]")] {
        let layers = json!([{ "kind": "flatten" }, layer, { "kind": "linear" }]);
        let (model, _) = build_model(of(layers), &[3, 8, 8], 5).unwrap();
        let inputs = Tensor::ones((1, 3, 8, 8), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let context = ForwardContext::new(Mode::Train, BatchPosition::default(), &[0]);
        let error = model.forward(&inputs, &context).unwrap_err().to_string();
        let expected = format!("{place} (batch_norm): batch normalisation over a shard needs 2 values");
        assert!(error.starts_with(&expected), "{error}\nexpected {expected}");
    }
}

#[test]
fn weights_beyond_the_memory_are_refused_with_the_layers_place() {
    let wide = json!({ "kind": "linear", "out_features": 1 << 24 });
    let inside = json!([{ "kind": "flatten" }, { "kind": "residual", "body": [wide] }, { "kind": "linear" }]);
    let error = refusal(of(inside));
    let expected = "model.layers[1].body[0] (linear): tensor \"1.body.0.weight\" of shape [16777216, 192]";
    assert!(error.starts_with(expected), "{error}\nexpected {expected}");
}

#[test]
fn parameters_are_refused_by_their_path() {
    let nested = json!([{ "kind": "residual", "body": [{ "kind": "dropout", "p": 1.0 }] }]);
    for (layers, expected) in [
        (json!([]), "model.layers: the last layer gives an image"),
        (json!([{}]), "model.layers[0].kind: expected one of linear, conv2d"),
        (json!([{ "kind": "conv3d" }]), "found \"conv3d\""),
        (json!([{ "kind": "relu", "p": 1 }]), "p"),
        (json!([{ "kind": "conv2d", "kernel_size": 3 }]), "model.layers[0]: missing field `out_channels`"),
        (
            json!([{ "kind": "conv2d", "out_channels": 4, "kernel_size": 0 }]),
            "model.layers[0].kernel_size: expected 1 to 8192, found 0",
        ),
        (json!([{ "kind": "conv2d", "out_channels": 4, "kernel_size": "3" }]), "model.layers[0].kernel_size"),
        (
            json!([{ "kind": "conv2d", "out_channels": 4, "kernel_size": 3, "stride": 0 }]),
            "model.layers[0].stride: expected 1 to",
        ),
        (
            json!([{ "kind": "conv2d", "out_channels": 4, "kernel_size": 100_000, "padding": 50_000 }]),
            "model.layers[0].kernel_size: expected 1 to 8192, found 100000",
        ),
        (
            json!([{ "kind": "max_pool", "kernel_size": 100_000, "padding": 50_000 }]),
            "model.layers[0].kernel_size: expected 1 to 8192, found 100000",
        ),
        (
            json!([{ "kind": "conv2d", "out_channels": 4, "kernel_size": 3, "dilation": 2, "padding": 5 }]),
            "model.layers[0].padding: expected less than the 5 pixels that a window reaches over, found 5",
        ),
        (
            json!([{ "kind": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": u64::MAX }]),
            "model.layers[0].padding: expected less than the 3 pixels",
        ),
        (
            json!([{ "kind": "conv2d", "out_channels": 4, "kernel_size": 3, "groups": 0 }]),
            "model.layers[0].groups: expected 1 to",
        ),
        (
            json!([{ "kind": "avg_pool", "kernel_size": 3, "padding": 2 }]),
            "model.layers[0].padding: expected at most 1, half of the window, found 2",
        ),
        (nested, "model.layers[0].body[0].p: expected 0 or more and below 1, found 1"),
        (json!(vec![json!({ "kind": "relu" }); 1001]), "expected at most 1000 layers"),
    ] {
        let error = refusal(of(layers));
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    }
}
