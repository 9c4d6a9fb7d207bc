use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::{BatchPosition, ForwardContext, Mode};
use crate::memory::peak_of;
use crate::test_support::{build_model, normal_values};
use lookbehind_kernels::record;

/// Enough samples that the output of one layer for all of them is large enough to be counted.
const SAMPLES: usize = 256;

/// Bytes that a forward and backward pass take, and those that the model announces.
fn taken_and_announced(model: Value) -> (u64, u64) {
    let (model, tensors) = build_model(model, &[3, 8, 8], 5).unwrap();
    tensors.load(tensors.initial(1).values()).unwrap();
    let shape = (SAMPLES, 3, 8, 8);
    let inputs = Tensor::from_vec(normal_values(1, SAMPLES * 3 * 8 * 8), shape, &Device::Cpu).unwrap();
    assert_eq!(inputs.dtype(), DType::F32);
    let samples: Vec<u64> = (0..SAMPLES as u64).collect();
    let (_, taken) = peak_of(|| {
        let context = ForwardContext::new(Mode::Train, BatchPosition::default(), &samples);
        let (logits, tape) = record(|| model.forward(&inputs, &context).unwrap());
        let gradient = logits.ones_like().unwrap();
        tape.backward(logits, gradient).unwrap()
    });
    (taken, model.elements_per_sample() * (SAMPLES * size_of::<f32>()) as u64)
}

#[test]
fn a_model_announces_most_of_what_a_training_pass_takes_and_never_more() {
    let conv = json!({ "kind": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1 });
    let (norm, relu) = (json!({ "kind": "batch_norm" }), json!({ "kind": "relu" }));
    let pool = json!({ "kind": "avg_pool", "kernel_size": 3, "stride": 1, "padding": 1 });
    let residual = json!({ "kind": "residual", "body": [conv, norm, relu, conv, norm] });
    let layers = json!([
        pool, pool, { "kind": "gelu" }, conv, relu, norm, relu, residual, relu, pool, { "kind": "dropout", "p": 0.5 },
        { "kind": "dropout", "p": 0.0 }, { "kind": "residual", "body": [] }, { "kind": "flatten" },
        { "kind": "layer_norm" }, { "kind": "linear", "out_features": 64 }, { "kind": "tanh" }, { "kind": "linear" },
    ]);
    for model in [
        json!({ "kind": "mlp", "hidden": [300, 200, 100] }),
        json!({ "kind": "resnet", "blocks": [1, 1], "width": 16 }),
        json!({ "kind": "resnet", "blocks": [1, 1], "width": 8, "block": "bottleneck", "norm": "group", "groups": 2 }),
        json!({ "kind": "resnet", "blocks": [1], "width": 16, "stem": "imagenet" }),
        json!({ "kind": "wide_resnet", "depth": 10, "width": 1, "dropout": 0.1 }),
        json!({ "kind": "vit", "patch": 4, "dim": 32, "depth": 3, "heads": 2, "dropout": 0.1 }),
        json!({ "kind": "vit", "patch": 2, "dim": 16, "depth": 2, "heads": 4, "mlp_dim": 80, "pooling": "mean" }),
        json!({ "kind": "sequential", "layers": layers }),
    ] {
        let (taken, announced) = taken_and_announced(model.clone());
        let range = announced..=5 * announced;
        assert!(announced > 0 && range.contains(&taken), "{model}: {taken} bytes, announced {announced}");
    }
}
