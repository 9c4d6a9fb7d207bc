use serde_json::{Value, json};

use super::*;
use crate::models::{BatchPosition, Mode};
use crate::test_support::{build_model, names_and_shapes, refusal};

fn small() -> Value {
    json!({ "kind": "vit", "patch": 4, "dim": 8, "depth": 1, "heads": 2 })
}

#[test]
fn tensors_have_timms_names_and_shapes() {
    let (_, tensors) = build_model(small(), &[3, 8, 8], 5).unwrap();
    let expected = [
        ("cls_token", vec![1, 1, 8]),
        ("pos_embed", vec![1, 5, 8]),
        ("patch_embed.proj.weight", vec![8, 3, 4, 4]),
        ("patch_embed.proj.bias", vec![8]),
        ("blocks.0.norm1.weight", vec![8]),
        ("blocks.0.norm1.bias", vec![8]),
        ("blocks.0.attn.qkv.weight", vec![24, 8]),
        ("blocks.0.attn.qkv.bias", vec![24]),
        ("blocks.0.attn.proj.weight", vec![8, 8]),
        ("blocks.0.attn.proj.bias", vec![8]),
        ("blocks.0.norm2.weight", vec![8]),
        ("blocks.0.norm2.bias", vec![8]),
        ("blocks.0.mlp.fc1.weight", vec![32, 8]),
        ("blocks.0.mlp.fc1.bias", vec![32]),
        ("blocks.0.mlp.fc2.weight", vec![8, 32]),
        ("blocks.0.mlp.fc2.bias", vec![8]),
        ("norm.weight", vec![8]),
        ("norm.bias", vec![8]),
        ("head.weight", vec![5, 8]),
        ("head.bias", vec![5]),
    ];
    assert_eq!(names_and_shapes(&tensors), expected.map(|(name, shape)| (name.to_owned(), shape)));
}

#[test]
fn the_mean_needs_no_class_token() {
    let mut model = small();
    model["pooling"] = "mean".into();
    let names = names_and_shapes(&build_model(model, &[3, 8, 8], 5).unwrap().1);
    assert!(names.contains(&("pos_embed".to_owned(), vec![1, 4, 8])));
    assert!(names.contains(&("fc_norm.weight".to_owned(), vec![8])));
    assert!(!names.iter().any(|(name, _)| name == "cls_token" || name == "norm.weight"));
}

#[test]
fn dropout_follows_the_sample_and_acts_in_training_passes_alone() {
    let mut model = small();
    model["dropout"] = 0.5.into();
    let (model, tensors) = build_model(model, &[3, 8, 8], 5).unwrap();
    tensors.load(tensors.probe(1).values()).unwrap();
    let inputs = Tensor::ones((1, 3, 8, 8), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    let forward = |mode, sample| {
        let samples = [sample];
        let context = ForwardContext::new(mode, BatchPosition::default(), &samples);
        model.forward(&inputs, &context).unwrap().to_vec2::<f32>().unwrap()
    };
    assert_eq!(forward(Mode::Test, 1), forward(Mode::Test, 2));
    assert_eq!(forward(Mode::Train, 1), forward(Mode::Train, 1));
    assert_ne!(forward(Mode::Train, 1), forward(Mode::Train, 2));
}

#[test]
fn parameters_are_refused_by_their_path() {
    for (key, value, expected) in [
        ("patch", json!(0), "model.patch: expected 1 to 8, found 0"),
        ("patch", json!(9), "model.patch: expected 1 to 8, found 9"),
        ("patch", json!(3), "model.patch: expected a divisor of the image's 8 x 8, found 3"),
        ("dim", json!(0), "model.dim: expected 1 to 16384, found 0"),
        ("depth", json!(0), "model.depth: expected 1 to 1000, found 0"),
        ("heads", json!(3), "model.heads: expected a divisor of dim = 8, found 3"),
        ("mlp_dim", json!(0), "model.mlp_dim: expected 1 to"),
        ("dropout", json!(1.5), "model.dropout: expected 0 or more and below 1, found 1.5"),
        ("pooling", json!("max"), "model.pooling: unknown variant `max`"),
        ("width", json!(3), "width"),
    ] {
        let mut model = small();
        model[key] = value;
        let error = refusal(model);
        assert!(error.contains(expected), "{error}");
    }
}
