use super::*;

fn noise(kind: NoiseKind, levels: &[f64]) -> Noise {
    Noise { kind, levels: levels.to_vec(), draws: 3, statistics: vec![BatchStatistics::Frozen] }
}

fn sharpness(measures: &[SharpnessMeasure], radii: &[f64]) -> Sharpness {
    Sharpness {
        measures: measures.to_vec(),
        radii: radii.to_vec(),
        samples: 1024,
        batch: 128,
        draws: 20,
        steps: 20,
    }
}

fn refusal(change: impl FnOnce(&mut Request)) -> String {
    let mut request = Request::plain(7);
    change(&mut request);
    request.check(10, false).unwrap_err().to_string()
}

#[test]
fn what_can_be_computed_is_accepted() {
    let mut request = Request::plain(7);
    request.noise = NoiseKind::ALL.iter().map(|&kind| noise(kind, &kind.usual_levels())).collect();
    request.sharpness = Some(sharpness(SharpnessMeasure::ALL, &[0.05, 0.5]));
    request.hessian = Some(Hessian { eigenvalues: 5, iterations: 100, probes: 100, samples: 1024 });
    request.recalibrate = true;
    request.check(10, true).unwrap();
}

#[test]
fn radii_must_be_above_0() {
    for radius in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        let told = refusal(|request| {
            request.sharpness = Some(sharpness(&[SharpnessMeasure::OneStep], &[0.1, radius]));
        });
        assert_eq!(told, format!("radii: expected numbers above 0, found {radius}"));
    }
    let told = refusal(|request| request.sharpness = Some(sharpness(&[SharpnessMeasure::OneStep], &[])));
    assert!(told.starts_with("radii: expected 1 to 64 entries"), "{told}");
}

#[test]
fn levels_must_have_a_meaning() {
    for (kind, level) in [
        (NoiseKind::Multiplicative, -0.1),
        (NoiseKind::Additive, f64::NAN),
        (NoiseKind::Quantize, 1.0),
        (NoiseKind::Quantize, 2.5),
    ] {
        let told = refusal(|request| request.noise = vec![noise(kind, &[level])]);
        assert!(told.starts_with("noise: expected") && told.contains(&format!("found {level}")), "{told}");
    }
}

#[test]
fn running_statistics_need_a_model_that_has_them() {
    let told = refusal(|request| request.recalibrate = true);
    assert_eq!(told, "recalibrate: the model has no running statistics that could be computed anew");
    let told = refusal(|request| {
        let statistics = vec![BatchStatistics::Recalibrated];
        request.noise = vec![Noise { statistics, ..noise(NoiseKind::Additive, &[0.1]) }];
    });
    assert!(told.starts_with("batch-statistics: the model has no"), "{told}");
}

#[test]
fn nothing_is_asked_twice() {
    let twice = noise(NoiseKind::Additive, &[0.1]);
    let told = refusal(|request| request.noise = vec![twice.clone(), twice.clone()]);
    assert_eq!(told, "noise: additive is listed twice");
    let one = SharpnessMeasure::OneStep;
    let told = refusal(|request| request.sharpness = Some(sharpness(&[one, one], &[0.1])));
    assert_eq!(told, "sharpness: one_step is listed twice");
}

#[test]
fn a_misspelt_name_is_answered_with_the_one_that_was_meant() {
    let told = "worst_l3".parse::<SharpnessMeasure>().unwrap_err().to_string();
    assert!(told.contains("one_step, worst_l2") && told.ends_with("did you mean \"worst_l2\"?"), "{told}");
}
