use super::*;

fn only(differences: &[f64]) -> Option<Difference> {
    super::differences(&[differences.to_vec()])[0]
}

fn near(found: Option<f64>, expected: f64) -> bool {
    found.is_some_and(|found| (found - expected).abs() < 1e-6)
}

#[test]
fn spreads_are_those_of_numpy() {
    // numpy.mean, numpy.std(ddof=1), numpy.percentile(5) of these.
    let spread = Spread::of(&[3.0, 1.0, 4.0, 1.5, 9.0]).unwrap();
    assert_eq!((spread.n, spread.mean, spread.min), (5, 3.7, 1.0));
    assert!(near(spread.std, 3.1937438845342623), "{spread:?}");
    assert!((spread.p5 - 1.1).abs() < 1e-12, "{}", spread.p5);
    assert_eq!(Spread::of(&[2.0]), Some(Spread { n: 1, mean: 2.0, std: None, min: 2.0, p5: 2.0 }));
    assert_eq!(Spread::of(&[]), None);
    assert!(Spread::of(&[1.0, f64::NAN]).unwrap().min.is_nan());
}

#[test]
fn a_paired_difference_has_the_interval_and_p_value_of_the_t_test() {
    // Mean 1, standard deviation √2.5, n = 5: t₀.₉₇₅(4) = 2.7764451052, and t = √2.
    let found = only(&[-1.0, 0.0, 1.0, 2.0, 3.0]).unwrap();
    assert_eq!((found.n, found.mean), (5, 1.0));
    assert!(near(found.half_width, 2.7764451052 * (2.5_f64 / 5.0).sqrt()), "{found:?}");
    assert!(near(found.p, 0.2301996410804), "{found:?}");
    assert_eq!((found.holm_p, found.holm_half_width), (found.p, found.half_width));
    assert_eq!(only(&[0.0, 0.0]).unwrap().p, Some(1.0));
    assert_eq!(only(&[2.0, 2.0]).unwrap().p, Some(0.0));
}

#[test]
fn one_pair_has_no_interval_and_what_is_not_finite_is_no_comparison() {
    let one = only(&[1.0]).unwrap();
    assert_eq!((one.mean, one.std, one.half_width, one.p, one.holm_p), (1.0, None, None, None, None));
    assert_eq!(only(&[]), None);
    assert_eq!(only(&[1.0, f64::NAN]), None);
    let clear = vec![1.0, 1.1, 0.9, 1.05];
    let found = super::differences(&[vec![f64::INFINITY, 1.0], clear.clone()]);
    assert_eq!((found[0], found[1]), (None, only(&clear)));
}

#[test]
fn p_values_and_intervals_are_adjusted_step_by_step() {
    let pairs = [vec![1.0, 1.1, 0.9, 1.05], vec![1.0, 0.5, 0.75, 0.2], vec![1.0, -0.5, 0.75, 0.2]];
    let [clear, middle, weak] = [0, 1, 2].map(|place| only(&pairs[place]).unwrap());
    let order = [weak, clear, middle].map(|of| of.p.unwrap());
    let found: Vec<Difference> = super::differences(&[pairs[2].clone(), pairs[0].clone(), pairs[1].clone()])
        .into_iter()
        .flatten()
        .collect();
    for (found, expected) in found.iter().zip([order[0], 3.0 * order[1], 2.0 * order[2]]) {
        assert!(near(found.holm_p, expected), "{found:?}");
    }
    assert_eq!(found[0].holm_half_width, found[0].half_width);
    assert!(found[1].holm_half_width > found[1].half_width);
    // None is below one that came before it, and none is above one.
    let equal = super::differences(&[vec![0.5, -0.4, 0.1], vec![0.5, -0.4, 0.1]]);
    assert!(equal.iter().flatten().all(|difference| difference.holm_p == Some(1.0)));
}
