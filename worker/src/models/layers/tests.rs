use candle_core::{DType, Device, Tensor};
use lookbehind_common::model_state::ModelState;

use super::*;
use crate::models::{BatchPosition, ForwardContext, Mode};
use crate::parameters::{ModelTensors, Recorder};
use lookbehind_kernels::Activation;

fn recorded(build: impl FnOnce(&candle_nn::VarBuilder<'_>)) -> ModelTensors {
    let recorder = Recorder::new(Device::Cpu, 1 << 24);
    build(&recorder.builder().pp("layer"));
    recorder.finish().unwrap()
}

/// Greatest absolute initial value of each tensor.
fn greatest(tensors: &ModelTensors) -> Vec<f32> {
    let parameters = tensors.initial(1).parameters;
    let entries = tensors.layout().parameter_entries();
    entries
        .map(|entry| parameters[entry.range.clone()].iter().fold(0.0, |most: f32, x| most.max(x.abs())))
        .collect()
}

#[test]
fn linear_and_convolution_start_within_the_range_that_pytorch_draws_from() {
    let spec = ConvSpec { bias: true, ..ConvSpec::same(16, 400, 3) };
    let conv = recorded(|builder| drop(Conv::new(spec, builder).unwrap()));
    let linear = recorded(|builder| drop(Linear::new(144, 400, builder).unwrap()));
    for tensors in [conv, linear] {
        for found in greatest(&tensors) {
            assert!(found <= 1.0 / 12.0 && found > 0.9 / 12.0, "{found}");
        }
    }
}

#[test]
fn the_groups_of_a_convolution_count_in_its_shape_and_in_its_range() {
    let mut spec = ConvSpec::same(64, 64, 1);
    spec.options.groups = 4;
    let tensors = recorded(|builder| drop(Conv::new(spec, builder).unwrap()));
    assert_eq!(tensors.layout().entries()[0].spec.shape, [64, 16, 1, 1]);
    assert!(greatest(&tensors).iter().all(|found| *found <= 0.25 && *found > 0.2));
}

#[test]
fn normalisation_starts_as_the_identity() {
    let tensors = recorded(|builder| drop(BatchNorm::new(2, builder).unwrap()));
    let ModelState { parameters, statistics } = tensors.initial(1);
    assert_eq!(parameters[..], [1.0, 1.0, 0.0, 0.0]);
    assert_eq!(statistics[..], [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn batch_normalisation_reports_each_batch_statistic_once_in_training_and_none_in_a_test() {
    let recorder = Recorder::new(Device::Cpu, 1 << 20);
    let norm = BatchNorm::new(2, &recorder.builder().pp("bn")).unwrap();
    let tensors = recorder.finish().unwrap();
    tensors.load(tensors.initial(1).values()).unwrap();
    let x = Tensor::new(&[[1_f32, -2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
    let reported = |mode| {
        let context = ForwardContext::new(mode, BatchPosition::default(), &[0, 1]);
        norm.forward(&x, None, Activation::Identity, &context).unwrap();
        context.into_reported()
    };
    assert_eq!(tensors.statistics(&reported(Mode::Train), 1.0).unwrap()[..], [2.0, 1.0, 2.0, 18.0]);
    assert!(reported(Mode::Test).is_empty());
}

#[test]
fn a_linear_layer_without_bias_trains_its_weight_alone() {
    let tensors = recorded(|builder| drop(Linear::without_bias(2, 3, builder).unwrap()));
    assert_eq!(tensors.layout().parameters(), 6);
}

#[test]
fn dropout_layers_have_masks_of_their_own() {
    let mut dropouts = Dropouts::new(0.5);
    let x = Tensor::ones((1, 100), DType::F32, &Device::Cpu).unwrap();
    let context = ForwardContext::new(Mode::Train, BatchPosition::default(), &[0]);
    let mut mask = || dropouts.layer().forward(&x, &context).unwrap().to_vec2::<f32>().unwrap();
    assert_ne!(mask(), mask());
}

#[test]
fn windows_are_counted_as_pytorch_counts_them() {
    assert_eq!(window(8, 3, 2, 1), Some(4));
    assert_eq!(window(7, 3, 2, 0), Some(3));
    assert_eq!(window(1, 3, 1, 0), None);
}

#[test]
fn images_without_channels_have_one() {
    let x = Tensor::zeros((2, 4, 6), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(ImageShape::channels_last(&x).unwrap().dims(), [2, 4, 6, 1]);
    let x = Tensor::zeros((2, 3, 4, 6), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(ImageShape::channels_last(&x).unwrap().dims(), [2, 4, 6, 3]);
}
