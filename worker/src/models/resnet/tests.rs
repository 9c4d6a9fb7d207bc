use serde_json::{Value, json};

use super::*;
use crate::models::{BatchPosition, Mode};
use crate::test_support::{build_model, names_and_shapes, refusal};

fn parameters(model: Value, input_shape: &[usize]) -> usize {
    build_model(model, input_shape, 10).unwrap().1.layout().parameters()
}

#[test]
fn named_networks_have_as_many_parameters_as_pytorchs() {
    for (name, expected) in [("resnet18", 11_173_962), ("resnet34", 21_282_122), ("resnet50", 23_520_842)] {
        let found = parameters(json!({ "kind": "resnet", "name": name }), &[3, 32, 32]);
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn networks_for_imagenet_have_as_many_parameters_as_torchvisions() {
    for (name, expected) in [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)] {
        let model = json!({ "kind": "resnet", "name": name, "stem": "imagenet" });
        let found = build_model(model, &[3, 224, 224], 1000).unwrap().1.layout().parameters();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_name_stands_for_its_blocks() {
    let of = |model| names_and_shapes(&build_model(model, &[3, 32, 32], 10).unwrap().1);
    let named = of(json!({ "kind": "resnet", "name": "resnet50", "width": 4 }));
    let blocks = json!({ "kind": "resnet", "block": "bottleneck", "blocks": [3, 4, 6, 3], "width": 4 });
    assert_eq!(named, of(blocks));
}

#[test]
fn tensors_stand_in_pytorchs_order_under_its_names() {
    let model = json!({ "kind": "resnet", "blocks": [1, 1], "width": 4 });
    let (_, tensors) = build_model(model, &[3, 8, 8], 5).unwrap();
    let bn = |name: &str, channels: usize| {
        ["weight", "bias", "running_mean", "running_var"]
            .map(|part| (format!("{name}.{part}"), vec![channels]))
            .to_vec()
    };
    let conv = |name: &str, shape: [usize; 4]| vec![(format!("{name}.weight"), shape.to_vec())];
    let expected = [
        conv("conv1", [4, 3, 3, 3]),
        bn("bn1", 4),
        conv("layer1.0.conv1", [4, 4, 3, 3]),
        bn("layer1.0.bn1", 4),
        conv("layer1.0.conv2", [4, 4, 3, 3]),
        bn("layer1.0.bn2", 4),
        conv("layer2.0.conv1", [8, 4, 3, 3]),
        bn("layer2.0.bn1", 8),
        conv("layer2.0.conv2", [8, 8, 3, 3]),
        bn("layer2.0.bn2", 8),
        conv("layer2.0.shortcut.0", [8, 4, 1, 1]),
        bn("layer2.0.shortcut.1", 8),
        vec![("linear.weight".to_owned(), vec![5, 8]), ("linear.bias".to_owned(), vec![5])],
    ];
    assert_eq!(names_and_shapes(&tensors), expected.concat());
}

#[test]
fn group_normalisation_keeps_the_names_and_needs_no_running_statistics() {
    let model = json!({ "kind": "resnet", "blocks": [1], "width": 4, "norm": "group", "groups": 2 });
    let (_, tensors) = build_model(model, &[3, 8, 8], 5).unwrap();
    assert_eq!(tensors.layout().statistics(), 0);
    assert!(names_and_shapes(&tensors).contains(&("layer1.0.bn2.bias".to_owned(), vec![4])));
}

#[test]
fn a_shard_of_one_value_per_channel_is_refused_with_the_layer_named() {
    let model = json!({ "kind": "resnet", "blocks": [1, 1, 1, 1], "width": 4 });
    let (model, _) = build_model(model, &[8, 8], 5).unwrap();
    let forward = |samples: &[u64]| {
        let inputs = Tensor::ones((samples.len(), 8, 8), candle_core::DType::F32, &candle_core::Device::Cpu);
        model.forward(&inputs.unwrap(), &ForwardContext::new(Mode::Train, BatchPosition::default(), samples))
    };
    assert_eq!(forward(&[4, 7]).unwrap().dims(), [2, 5]);
    let error = forward(&[4]).unwrap_err().to_string();
    for words in ["layer4.0.bn1: ", "2 values per channel or more, found 1", "train.shards", "drop_last"] {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn parameters_are_refused_by_their_path() {
    for (given, expected) in [
        (json!({}), "model: expected a name, for example \"resnet18\", or blocks"),
        (json!({ "name": "resnet19" }), "model.name"),
        (json!({ "name": "resnet18", "blocks": [1] }), "model.name: the blocks are those of the name"),
        (json!({ "name": "resnet18", "block": "basic" }), "model.name: the blocks are those of the name"),
        (json!({ "block": "wide", "blocks": [1] }), "model.block: unknown variant `wide`"),
        (json!({ "blocks": [] }), "model.blocks: expected 1 to 8 stages, found 0"),
        (json!({ "blocks": [1, 0] }), "model.blocks[1]: expected 1 to 1000 blocks, found 0"),
        (json!({ "blocks": [1, -1] }), "model.blocks[1]"),
        (json!({ "blocks": [1], "width": 0 }), "model.width: expected 1 to 16384 channels, found 0"),
        (json!({ "blocks": [1], "groups": 4 }), "model.groups: only norm = \"group\" has groups"),
        (json!({ "blocks": [1], "norm": "group" }), "model.groups: norm = \"group\" needs it"),
        (
            json!({ "blocks": [1], "norm": "group", "groups": 7 }),
            "model.groups: expected a divisor of the 64 channels of bn1, found 7",
        ),
        (json!({ "blocks": [1], "depth": 18 }), "depth"),
    ] {
        let mut given = given;
        given["kind"] = "resnet".into();
        let error = refusal(given);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn inputs_that_are_no_images_are_refused() {
    let model = json!({ "kind": "resnet", "blocks": [1], "width": 4 });
    let error = build_model(model, &[64], 5).err().unwrap().to_string();
    assert!(error.contains("model.kind: resnet takes images") && error.contains("[64]"), "{error}");
}
