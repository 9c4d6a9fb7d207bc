use candle_core::{DType, Device, Tensor};

use super::*;

const POSITION: BatchPosition = BatchPosition { seed: 1, epoch: 2, batch: 3 };

fn ones(rows: usize, columns: usize) -> Tensor {
    Tensor::ones((rows, columns), DType::F32, &Device::Cpu).unwrap()
}

/// Dropout of ones, which is the mask itself.
fn mask(position: BatchPosition, layer: u32, samples: &[u64]) -> Vec<Vec<f32>> {
    let context = ForwardContext::new(Mode::Train, position, samples);
    context.dropout(layer, 0.4, &ones(samples.len(), 50)).unwrap().to_vec2().unwrap()
}

#[test]
fn a_samples_mask_does_not_depend_on_the_shard_that_it_is_in() {
    let whole = mask(POSITION, 0, &[8, 5, 9, 2]);
    assert_eq!(mask(POSITION, 0, &[8, 5]), whole[..2]);
    assert_eq!(mask(POSITION, 0, &[9, 2]), whole[2..]);
    assert_eq!(mask(POSITION, 0, &[2, 9])[0], whole[3]);
}

#[test]
fn masks_differ_between_samples_layers_batches_epochs_and_seeds() {
    let whole = mask(POSITION, 0, &[8, 5]);
    assert_ne!(whole[0], whole[1]);
    assert_ne!(mask(POSITION, 1, &[8])[0], whole[0]);
    for other in [
        BatchPosition { seed: 9, ..POSITION },
        BatchPosition { epoch: 9, ..POSITION },
        BatchPosition { batch: 9, ..POSITION },
    ] {
        assert_ne!(mask(other, 0, &[8])[0], whole[0]);
    }
}

#[test]
fn dropout_zeroes_the_given_share_and_scales_the_rest() {
    let samples: Vec<u64> = (0..200).collect();
    let mask_values: Vec<f32> = mask(POSITION, 0, &samples).concat();
    let dropped = mask_values.iter().filter(|&&x| x == 0.0).count() as f32 / mask_values.len() as f32;
    assert!((dropped - 0.4).abs() < 0.02, "{dropped}");
    assert!(mask_values.iter().all(|&x| x == 0.0 || x == 1.0 / (1.0 - 0.4)));
}

#[test]
fn nothing_is_dropped_in_a_test_pass_or_with_probability_zero() {
    let x = ones(2, 50);
    let keeps = |mode, probability| {
        let kept = ForwardContext::new(mode, POSITION, &[0, 1]).dropout(0, probability, &x).unwrap();
        kept.to_vec2::<f32>().unwrap() == x.to_vec2::<f32>().unwrap()
    };
    assert!(keeps(Mode::Test, 0.4) && keeps(Mode::Train, 0.0) && !keeps(Mode::Train, 0.4));
}

#[test]
fn impossible_probabilities_and_shapes_are_refused() {
    let context = ForwardContext::new(Mode::Train, POSITION, &[0, 1]);
    for probability in [-0.1, 1.0, f32::NAN] {
        assert!(context.dropout(0, probability, &ones(2, 2)).is_err());
    }
    let error = context.dropout(0, 0.5, &ones(3, 2)).unwrap_err().to_string();
    assert!(error.contains("[3, 2], expected 2 rows"), "{error}");
}

#[test]
fn reports_come_back_in_their_order() {
    let context = ForwardContext::new(Mode::Train, POSITION, &[]);
    context.report("b", &ones(1, 1));
    context.report("a", &ones(1, 2));
    let names: Vec<String> = context.into_reported().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["b", "a"]);
}
