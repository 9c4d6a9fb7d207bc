use super::*;

/// The parts of a step of one second.
fn parts(compute: f64, data: f64, optimizer: f64, waiting: f64) -> [f64; 5] {
    let step = Step { busy: Busy { compute, data }, optimizer, waiting, ..Step::default() };
    let v1::TimeSplit { total, compute, communication, optimizer, waiting, data } =
        step.time(Duration::from_secs(1));
    assert_eq!(total, 1.0);
    [compute, data, communication, optimizer, waiting]
}

#[test]
fn a_step_that_diverges_says_what_usually_helps() {
    let mut step = Step { outer_step: 7, ..Step::default() };
    let said = step.diverged("the loss is NaN");
    assert!(said.starts_with("outer step 7: the loss is NaN; unless the data"), "{said}");
    assert!(said.contains("optimizer.base.lr") && said.contains("optimizer.rho"), "{said}");
    step.not_finite.insert("w1".to_owned());
    assert!(step.diverged("the loss is NaN").contains("the partials of these workers were not: w1; unless"));
}

#[test]
fn the_parts_of_a_step_add_up_to_the_whole_whatever_overlaps_and_whatever_is_claimed() {
    assert_eq!(parts(0.5, 0.125, 0.125, 0.125), [0.5, 0.125, 0.125, 0.125, 0.125]);
    // The busiest worker computes while the others wait for it.
    assert_eq!(parts(0.75, 0.0, 0.125, 0.5), [0.75, 0.0, 0.0, 0.125, 0.125]);
    for claimed in [1e300, f64::INFINITY, f64::NAN, -1.0] {
        let parts = parts(claimed, claimed, 0.25, 0.5);
        assert_eq!(parts.iter().sum::<f64>(), 1.0, "{claimed}: {parts:?}");
        assert!(parts.iter().all(|part| (0.0..=1.0).contains(part)), "{claimed}: {parts:?}");
    }
}
