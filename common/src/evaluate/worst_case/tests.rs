use super::*;

/// A bowl around (1, −2) with other curvatures, and an ascent on it; returns the worst loss and the losses seen.
fn climb(measure: SharpnessMeasure, radius: f64, start: [f32; 3]) -> (f64, Vec<f64>, usize) {
    let mut ascent = WorstCase::new(measure, radius, 20, start.to_vec().into());
    let (mut seen, mut gradients) = (Vec::new(), 0);
    loop {
        let point: Vec<f64> = ascent.point().iter().map(|&w| f64::from(w)).collect();
        let scales = [1.0, 3.0, 0.5];
        let centre = [1.0, -2.0, 0.25];
        let loss: f64 = (0..3).map(|i| 0.5 * scales[i] * (point[i] - centre[i]).powi(2)).sum();
        let gradient: Vec<f32> = (0..3).map(|i| (scales[i] * (point[i] - centre[i])) as f32).collect();
        gradients += usize::from(ascent.wants_gradient());
        seen.push(loss);
        if let Some((worst, _)) = ascent.absorb(loss, 0, &gradient) {
            return (worst, seen, gradients);
        }
    }
}

#[test]
fn one_step_moves_by_the_radius_along_the_gradient() {
    let (worst, seen, gradients) = climb(SharpnessMeasure::OneStep, 0.1, [1.0, -1.0, 0.25]);
    assert_eq!((seen.len(), gradients), (2, 1));
    assert!((worst - 1.5 * 1.1 * 1.1).abs() < 1e-6, "{worst}");
}

#[test]
fn the_worst_point_of_a_ball_is_found() {
    // From the centre of a direction that curves most, the worst point lies along it: ½ · 3 · (1 + ρ)².
    let (worst, seen, gradients) = climb(SharpnessMeasure::WorstL2, 0.5, [1.01, -1.0, 0.25]);
    assert_eq!((seen.len(), gradients), (21, 20));
    assert!((worst - 1.5 * 1.5 * 1.5).abs() < 0.01, "{worst}");
    assert_eq!(worst, seen.iter().copied().fold(f64::MIN, f64::max));
}

#[test]
fn adaptive_ascents_stay_within_their_sets() {
    let start = [0.9_f32, -1.5, 0.0];
    for (measure, most) in [
        (SharpnessMeasure::WorstAdaptiveLinf, 0.5 * (0.1 + 0.18_f64).powi(2) + 1.5 * 0.8 * 0.8),
        (SharpnessMeasure::WorstAdaptiveL2, 0.5 * (0.1 + 0.18_f64).powi(2) + 1.5 * 0.8 * 0.8),
    ] {
        let (worst, seen, gradients) = climb(measure, 0.2, start);
        assert_eq!((seen.len(), gradients), (21, 20));
        // The third weight is zero and stays.
        assert!(worst > seen[0] && worst <= most + 0.25 * 0.25 * 0.25 + 1e-9, "{measure} {worst} {most}");
    }
}

#[test]
fn an_ascent_never_ends_below_its_start() {
    // At the top of a hill every step leads down.
    let mut ascent = WorstCase::new(SharpnessMeasure::WorstL2, 0.5, 5, vec![1.0, 2.0].into());
    for step in 0..5 {
        assert_eq!(ascent.absorb(-f64::from(step), 7 - step as u64, &[1.0, 0.0]), None);
    }
    assert_eq!(ascent.absorb(-5.0, 0, &[]), Some((0.0, 7)));
}

#[test]
fn a_loss_that_is_not_a_number_is_the_worst() {
    let mut ascent = WorstCase::new(SharpnessMeasure::WorstL2, 0.5, 2, vec![1.0].into());
    ascent.absorb(1.0, 1, &[1.0]);
    ascent.absorb(f64::NAN, 0, &[1.0]);
    let (worst, _) = ascent.absorb(9.0, 1, &[]).unwrap();
    assert!(worst.is_nan());
}

#[test]
fn the_checkpoints_are_those_of_the_published_code() {
    // ceil(0.22 · 20), and so on, as that code computes them.
    assert_eq!(checkpoints(20), [5, 9, 12, 15, 16, 18, 19]);
    assert_eq!(checkpoints(1), [] as [u32; 0]);
}
