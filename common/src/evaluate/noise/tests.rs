use super::*;
use crate::layout::TensorKind;

fn layout() -> Layout {
    let tensor = |name: &str, shape: &[usize]| TensorSpec {
        name: name.to_owned(),
        shape: shape.to_vec(),
        kind: TensorKind::Parameter,
    };
    Layout::new([
        tensor("layers.0.weight", &[40, 50]),
        tensor("layers.0.bias", &[40]),
        tensor("norm.weight", &[40]),
        tensor("conv.weight", &[4, 3, 3, 3]),
    ])
    .unwrap()
}

fn parameters() -> Vec<f32> {
    (0..layout().parameters()).map(|place| ((place * 37 % 101) as f32 - 50.0) / 80.0).collect()
}

const DRAW: NoiseDraw = NoiseDraw { seed: 3, draw: 1 };

#[test]
fn no_noise_leaves_every_bit() {
    for kind in [NoiseKind::Multiplicative, NoiseKind::RelativeMax, NoiseKind::Additive] {
        assert_eq!(perturb(kind, 0.0, &layout(), &parameters(), DRAW)[..], parameters()[..]);
    }
}

#[test]
fn only_weights_of_linear_and_convolutional_layers_are_disturbed() {
    let (layout, before) = (layout(), parameters());
    let after = perturb(NoiseKind::Additive, 0.3, &layout, &before, DRAW);
    for entry in layout.entries() {
        let range = entry.range.clone();
        let changed = after[range.clone()].iter().zip(&before[range]).filter(|(a, b)| a != b).count();
        let expected = if entry.spec.shape.len() > 1 { entry.range.len() } else { 0 };
        assert_eq!(changed, expected, "{}", entry.spec.name);
    }
}

#[test]
fn noise_has_the_size_that_its_kind_says() {
    let (layout, before) = (layout(), parameters());
    let first = layout.entries()[0].range.clone();
    let greatest = before[first.clone()].iter().fold(0.0_f32, |most, w| most.max(w.abs()));
    for (kind, scale) in [
        (NoiseKind::Multiplicative, None),
        (NoiseKind::RelativeMax, Some(greatest)),
        (NoiseKind::Additive, Some(1.0)),
    ] {
        let after = perturb(kind, 0.2, &layout, &before, DRAW);
        let drawn = after[first.clone()].iter().zip(&before[first.clone()]).filter(|(_, w)| **w != 0.0);
        let drawn: Vec<f64> = drawn.map(|(a, w)| f64::from((a - w) / (0.2 * scale.unwrap_or(*w)))).collect();
        let n = drawn.len() as f64;
        let mean = drawn.iter().sum::<f64>() / n;
        let variance = drawn.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        // Three standard errors of the mean and of the variance of standard normal numbers.
        assert!(mean.abs() < 3.0 / n.sqrt(), "{kind}: mean {mean}");
        assert!((variance - 1.0).abs() < 3.0 * (2.0 / n).sqrt(), "{kind}: variance {variance}");
    }
}

#[test]
fn all_levels_of_a_draw_share_their_random_numbers_and_draws_do_not() {
    let (layout, before) = (layout(), parameters());
    let at = |level, draw| perturb(NoiseKind::Additive, level, &layout, &before, NoiseDraw { seed: 3, draw });
    let (small, great, other) = (at(0.1, 0), at(0.2, 0), at(0.1, 1));
    for place in 0..2000 {
        let (one, two) = (small[place] - before[place], great[place] - before[place]);
        assert!((two - 2.0 * one).abs() < 1e-6);
    }
    assert_ne!(small[..], other[..]);
}

#[test]
fn quantised_weights_lie_on_the_grid() {
    let layout = layout();
    let after = perturb(NoiseKind::Quantize, 3.0, &layout, &parameters(), DRAW);
    let greatest = parameters()[..2000].iter().fold(0.0_f32, |most, w| most.max(w.abs()));
    for (after, before) in after[..2000].iter().zip(parameters()) {
        let steps = after / greatest * 3.0;
        assert!((steps - steps.round()).abs() < 1e-5 && steps.abs() < 3.01);
        assert!((after - before).abs() <= greatest / 6.0 + 1e-6);
    }
}

#[test]
fn directions_scale_with_the_radius_and_with_the_weights() {
    let (layout, before) = (layout(), parameters());
    let moved = |measure| average_direction(measure, 0.5, &layout, &before, DRAW);
    let uniform = moved(SharpnessMeasure::AverageLinf);
    assert!(uniform.iter().zip(&before).all(|(a, b)| (a - b).abs() <= 0.5 + 1e-6));
    let adaptive = moved(SharpnessMeasure::AverageAdaptiveLinf);
    assert!(adaptive.iter().zip(&before).all(|(a, b)| (a - b).abs() <= 0.5 * b.abs() + 1e-6));
    let normal = moved(SharpnessMeasure::AverageL2);
    assert!(normal.iter().zip(&before).any(|(a, b)| (a - b).abs() > 0.5));
}
