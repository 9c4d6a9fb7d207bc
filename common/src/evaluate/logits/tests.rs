use super::*;

#[test]
fn normalised_logits_do_not_depend_on_scale_and_offset() {
    let logits = [1.0, -2.0, 0.5, 3.0, 3.0, 3.5];
    let scaled: Vec<f32> = logits.iter().map(|z| 10.0 * z + 4.0).collect();
    let (one, other) = (normalise_logits(&logits, 3), normalise_logits(&scaled, 3));
    for (one, other) in one.iter().zip(&other) {
        assert!((one - other).abs() < 1e-6);
    }
    let norm: f32 = one[..3].iter().map(|value| value * value).sum();
    assert!((norm - 1.0).abs() < 1e-6);
    assert_eq!(normalise_logits(&[2.0, 2.0], 2), [0.0, 0.0]);
}

#[test]
fn the_gradient_agrees_with_differences() {
    let logits = [1.0_f32, -2.0, 0.5, 0.75];
    let weights = [0.3_f32, -1.0, 0.8, 0.1];
    let value = |logits: &[f32]| -> f64 {
        let normal = normalise_logits(logits, 4);
        normal.iter().zip(&weights).map(|(v, w)| f64::from(*v) * f64::from(*w)).sum()
    };
    let gradient = pull_back(&logits, &weights, 4);
    for place in 0..4 {
        let moved = |by: f32| {
            let mut moved = logits;
            moved[place] += by;
            value(&moved)
        };
        let difference = (moved(0.01) - moved(-0.01)) / 0.02;
        assert!((f64::from(gradient[place]) - difference).abs() < 1e-4, "{place}");
    }
}
