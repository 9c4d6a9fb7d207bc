use candle_nn::init::{FanInOut, NonLinearity};
use lookbehind_common::random::Purpose;

use super::*;

fn draw(init: Init, shape: &[usize]) -> Vec<f32> {
    let mut values = vec![f32::NAN; shape.iter().product()];
    fill(init, shape, Key::new(1, Purpose::InitialWeights), &mut values);
    values
}

/// Mean and standard deviation.
fn moments(values: &[f32]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

fn kaiming(dist: NormalOrUniform, fan: FanInOut) -> Init {
    Init::Kaiming { dist, fan, non_linearity: NonLinearity::ReLU }
}

#[test]
fn constants_fill_the_tensor() {
    assert_eq!(draw(Init::Const(0.5), &[2, 2]), [0.5; 4]);
}

#[test]
fn distributions_have_the_moments_that_they_name() {
    let shape = [100, 20, 3, 3];
    let fan_in = (2.0_f64 / (20.0 * 9.0)).sqrt();
    let fan_out = (2.0_f64 / (100.0 * 9.0)).sqrt();
    for (init, mean, stdev) in [
        (Init::Uniform { lo: 1.0, up: 3.0 }, 2.0, 2.0 / 12_f64.sqrt()),
        (Init::Randn { mean: -1.0, stdev: 0.5 }, -1.0, 0.5),
        (kaiming(NormalOrUniform::Normal, FanInOut::FanIn), 0.0, fan_in),
        (kaiming(NormalOrUniform::Uniform, FanInOut::FanIn), 0.0, fan_in),
        (kaiming(NormalOrUniform::Normal, FanInOut::FanOut), 0.0, fan_out),
    ] {
        let (found_mean, found_stdev) = moments(&draw(init, &shape));
        assert!((found_mean - mean).abs() < 0.03 * stdev, "{init:?}: mean {found_mean}");
        assert!(
            (found_stdev / stdev - 1.0).abs() < 0.02,
            "{init:?}: deviation {found_stdev}, expected {stdev}"
        );
    }
}

#[test]
fn uniform_values_stay_within_their_bounds() {
    let values = draw(kaiming(NormalOrUniform::Uniform, FanInOut::FanIn), &[50, 24]);
    let bound = (6.0_f64 / 24.0).sqrt() as f32;
    assert!(values.iter().all(|x| x.abs() <= bound));
}

#[test]
fn drawn_values_are_the_same_on_every_machine_and_in_every_version() {
    let bits = |init| draw(init, &[3]).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(Init::Uniform { lo: -1.0, up: 1.0 }), [0xbf4c_29d0, 0xbf05_96d4, 0x3ded_6b10]);
    assert_eq!(bits(Init::Randn { mean: 0.0, stdev: 1.0 }), [0x3d01_b4dd, 0x3eed_93d1, 0xbd73_af6d]);
}
