use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use lookbehind_common::job::{OptimizerSpec, parse_toml};

use super::*;
use lookbehind_kernels::record;

const LIMIT: u64 = 1 << 20;

/// Three parameters and two running statistics.
fn tensors() -> ModelTensors {
    let recorder = Recorder::new(Device::Cpu, LIMIT);
    let builder = recorder.builder();
    builder.get_with_hints((2, 3), "a.weight", Init::Uniform { lo: -1.0, up: 1.0 }).unwrap();
    builder.pp("norm").get_with_hints(2, "running_mean", Init::Const(0.0)).unwrap();
    builder.pp("norm").get_with_hints(2, "running_var", Init::Const(1.0)).unwrap();
    builder.pp("norm").get_with_hints(2, "weight", Init::Const(1.0)).unwrap();
    builder.get_with_hints((2, 3), "b.weight", Init::Uniform { lo: -1.0, up: 1.0 }).unwrap();
    recorder.finish().unwrap()
}

fn refusal(ask: impl FnOnce(&VarBuilder<'_>) -> candle_core::Result<Tensor>) -> String {
    let recorder = Recorder::new(Device::Cpu, LIMIT);
    ask(&recorder.builder()).unwrap_err().to_string()
}

#[test]
fn tensors_are_recorded_in_the_order_asked_for_and_running_statistics_are_recognised() {
    let tensors = tensors();
    let entries: Vec<_> = tensors
        .layout()
        .entries()
        .iter()
        .map(|entry| (entry.spec.name.as_str(), entry.spec.kind, entry.range.clone()))
        .collect();
    use TensorKind::{Parameter, RunningStatistic};
    assert_eq!(
        entries,
        [
            ("a.weight", Parameter, 0..6),
            ("norm.running_mean", RunningStatistic, 0..2),
            ("norm.running_var", RunningStatistic, 2..4),
            ("norm.weight", Parameter, 6..8),
            ("b.weight", Parameter, 8..14),
        ]
    );
}

#[test]
fn initial_values_depend_on_the_seed_and_the_tensors_number_alone() {
    let initial = tensors().initial(3);
    assert_eq!(initial, tensors().initial(3));
    let ModelState { parameters, statistics } = initial;
    assert_ne!(parameters, tensors().initial(4).parameters);
    assert_ne!(parameters[0..6], parameters[8..14], "equal shapes of different tensors");
    assert_eq!(parameters[6..8], [1.0, 1.0]);
    assert_eq!(statistics[..], [0.0, 0.0, 1.0, 1.0]);
    assert!(parameters.iter().all(|value| (-1.0..=1.0).contains(value)));
}

#[test]
fn probe_weights_are_never_constant_and_differ_from_the_initial_ones() {
    let ModelState { parameters, statistics } = tensors().probe(3);
    assert_ne!(parameters[6], parameters[7]);
    assert_ne!(parameters[..6], tensors().initial(3).parameters[..6]);
    assert!(statistics.iter().all(|value| (0.5..=1.5).contains(value)));
}

#[test]
fn loaded_values_are_what_the_model_computes_with() {
    let recorder = Recorder::new(Device::Cpu, LIMIT);
    let weight = recorder.builder().get((2, 2), "weight").unwrap();
    let mean = recorder.builder().get(1, "running_mean").unwrap();
    let tensors = recorder.finish().unwrap();
    for round in 0..2 {
        let first = round as f32;
        let state = ModelState { parameters: &[first, 2.0, 3.0, 4.0][..], statistics: &[-first] };
        tensors.load(state).unwrap();
        assert_eq!(weight.to_vec2::<f32>().unwrap(), [[first, 2.0], [3.0, 4.0]]);
        assert_eq!(mean.to_vec1::<f32>().unwrap(), [-first]);
    }
}

#[test]
fn values_of_another_length_are_refused() {
    let tensors = tensors();
    let error = |parameters: usize, statistics: usize| {
        let state = ModelState { parameters, statistics }.map(FlatBuffer::zeros);
        tensors.load(state.values()).unwrap_err().to_string()
    };
    assert_eq!(error(13, 4), "parameters: 13 elements, expected 14");
    assert_eq!(error(14, 5), "running statistics: 5 elements, expected 4");
}

/// How a model is trained whose tensor `frozen` is frozen, and whose running statistics are.
fn training() -> OptimizerSpec {
    let text = "name = 'x'\nmodel = { kind = 'x' }\ndata = { kind = 'x' }\ntrain = { steps = 1, batch_size = 1 }\n\
                [optimizer]\nbatch_statistics = 'frozen'\ngroups = [{ tensors = ['froz*'], frozen = true }]\n";
    parse_toml(text).unwrap().validate().unwrap().optimizer
}

#[test]
fn frozen_tensors_are_loaded_and_computed_with_but_have_no_gradient() {
    let recorder = Recorder::new(Device::Cpu, LIMIT).trained_as(&training());
    let builder = recorder.builder();
    let first = builder.get(2, "first").unwrap();
    let frozen = builder.get(2, "frozen").unwrap();
    let again = builder.get(2, "frozen").unwrap();
    let last = builder.get(2, "last").unwrap();
    let mean = builder.get(2, "running_mean").unwrap();
    let tensors = recorder.finish().unwrap();
    assert!(!frozen.track_op() && !again.track_op(), "no operation on it is recorded");
    let parameters = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    tensors.load(ModelState { parameters, statistics: &[0.0, 0.0] }).unwrap();
    let (loss, tape) = record(|| {
        let product = ((first * frozen).unwrap() * last).unwrap();
        ((product * again).unwrap() + mean).unwrap().sum_all().unwrap()
    });
    let one = Tensor::new(1.0_f32, &Device::Cpu).unwrap();
    let gradient = tensors.gradients(&tape.backward(loss, one).unwrap()).unwrap();
    assert_eq!(gradient[..], [5.0 * 9.0, 6.0 * 16.0, 9.0, 2.0 * 16.0]);
    assert!(tensors.statistics(&[], 1.0).unwrap().is_empty());
    let reported = [("running_mean".to_owned(), Tensor::new(&[1.0_f32, 2.0], &Device::Cpu).unwrap())];
    let error = tensors.statistics(&reported, 1.0).unwrap_err().to_string();
    assert!(error.contains("\"running_mean\"") && error.contains("optimizer.batch_statistics"), "{error}");
}

#[test]
fn gradients_lie_in_the_layouts_order_and_are_zero_where_the_loss_has_none() {
    let recorder = Recorder::new(Device::Cpu, LIMIT);
    let builder = recorder.builder();
    let first = builder.get(2, "first").unwrap();
    builder.get(3, "unused").unwrap();
    let last = builder.get((2, 2), "last").unwrap();
    let tensors = recorder.finish().unwrap();
    let parameters = &[1.0, 2.0, 0.0, 0.0, 0.0, 3.0, 4.0, 5.0, 6.0];
    tensors.load(ModelState { parameters, statistics: &[] }).unwrap();
    // Transposed, so that the gradient has another memory order than the parameter.
    let scale = Tensor::new(&[[1.0_f32, 10.0], [100.0, 1000.0]], &Device::Cpu).unwrap();
    let (loss, tape) = record(|| {
        let loss = (last.t().unwrap() * scale).unwrap().sum_all().unwrap();
        (loss + first.sqr().unwrap().sum_all().unwrap()).unwrap()
    });
    let one = Tensor::new(1.0_f32, &Device::Cpu).unwrap();
    let gradients = tensors.gradients(&tape.backward(loss, one).unwrap()).unwrap();
    assert_eq!(gradients[..], [2.0, 4.0, 0.0, 0.0, 0.0, 1.0, 100.0, 10.0, 1000.0]);
}

#[test]
fn reported_batch_statistics_are_weighted_by_the_share() {
    let values = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
    // Not contiguous: every other element of its memory.
    let column = Tensor::new(&[[4.0_f32, -1.0], [8.0, -1.0]], &Device::Cpu).unwrap().narrow(1, 0, 1).unwrap();
    let column = column.squeeze(1).unwrap();
    let reported =
        [("norm.running_var".to_owned(), column), ("norm.running_mean".to_owned(), values(&[1.0, -2.0]))];
    assert_eq!(tensors().statistics(&reported, 0.25).unwrap()[..], [0.25, -0.5, 1.0, 2.0]);
}

#[test]
fn batch_statistics_that_are_missing_unknown_repeated_or_of_another_size_are_refused_by_name() {
    let of = |names: &[(&str, usize)]| {
        let reported: Vec<_> = names
            .iter()
            .map(|&(name, size)| (name.to_owned(), Tensor::zeros(size, DType::F32, &Device::Cpu).unwrap()))
            .collect();
        tensors().statistics(&reported, 1.0).unwrap_err().to_string()
    };
    let mean = ("norm.running_mean", 2);
    let var = ("norm.running_var", 2);
    assert!(of(&[mean]).contains("running statistic \"norm.running_var\": the model reported it 0 times"));
    assert!(
        of(&[mean, var, mean])
            .contains("running statistic \"norm.running_mean\": the model reported it 2 times")
    );
    assert!(of(&[mean, var, ("norm.other", 2)]).contains("has none of that name"));
    assert!(of(&[mean, var, ("norm.weight", 2)]).contains("has none of that name"));
    assert!(of(&[mean, ("norm.running_var", 3)]).contains("tensor \"norm.running_var\": 3 elements"));
}

#[test]
fn a_name_asked_for_again_is_the_same_tensor_and_must_keep_its_shape() {
    let recorder = Recorder::new(Device::Cpu, LIMIT);
    let builder = recorder.builder();
    assert!(!builder.contains_tensor("weight"));
    let first = builder.get((2, 3), "weight").unwrap();
    assert!(builder.contains_tensor("weight"));
    assert_eq!(builder.get((2, 3), "weight").unwrap().id(), first.id());
    assert_eq!(builder.get_unchecked("weight").unwrap().id(), first.id());
    assert!(builder.get((3, 2), "weight").unwrap_err().to_string().contains("\"weight\""));
    assert!(builder.get_unchecked("bias").unwrap_err().to_string().contains("\"bias\""));
    assert_eq!(recorder.finish().unwrap().layout().parameters(), 6);
}

#[test]
fn impossible_tensors_are_refused_by_name_before_memory_is_taken() {
    for shape in [vec![1 << 20], vec![1 << 40, 1 << 40], vec![usize::MAX, 2]] {
        let recorder = Recorder::new(Device::Cpu, LIMIT);
        let error = recorder.builder().get(shape, "big").unwrap_err().to_string();
        assert!(error.contains("tensor \"big\"") && error.contains("1048576 bytes"), "{error}");
        assert!(recorder.exceeded_memory());
    }
    assert!(
        refusal(|builder| builder.to_dtype(DType::F64).get(2, "wide")).contains("tensor \"wide\": type F64")
    );
}

#[test]
fn the_limit_holds_for_all_tensors_together() {
    let recorder = Recorder::new(Device::Cpu, 4 * 10);
    recorder.builder().get(6, "a").unwrap();
    recorder.builder().get(4, "b").unwrap();
    assert!(!recorder.exceeded_memory());
    assert!(recorder.builder().get(1, "c").is_err());
}

#[test]
fn nothing_is_handed_out_once_the_model_is_built() {
    let recorder = Recorder::new(Device::Cpu, LIMIT);
    let builder = recorder.builder();
    builder.get(1, "weight").unwrap();
    recorder.finish().unwrap();
    assert!(builder.get(1, "late").unwrap_err().to_string().contains("after the model was built"));
}

#[test]
fn a_model_without_parameters_is_refused() {
    let recorder = Recorder::new(Device::Cpu, LIMIT);
    recorder.builder().get(1, "running_mean").unwrap();
    assert!(recorder.finish().err().unwrap().to_string().contains("no parameters"));
}
