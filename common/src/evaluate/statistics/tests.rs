use super::*;

#[test]
fn spreads_are_those_of_numpy() {
    // numpy.mean, numpy.std(ddof=1), numpy.percentile(5) of these.
    let spread = Spread::of(&[3.0, 1.0, 4.0, 1.5, 9.0]);
    assert_eq!((spread.n, spread.mean, spread.min), (5, 3.7, 1.0));
    assert!((spread.std - 3.1937438845342623).abs() < 1e-12, "{}", spread.std);
    assert!((spread.p5 - 1.1).abs() < 1e-12, "{}", spread.p5);
    assert_eq!(Spread::of(&[2.0]), Spread { n: 1, mean: 2.0, std: 0.0, min: 2.0, p5: 2.0 });
    assert!(Spread::of(&[1.0, f64::NAN]).min.is_nan());
}

#[test]
fn intervals_are_those_of_students_t() {
    // Mean 1, standard deviation √2.5, n = 5: t₀.₉₇₅(4) = 2.7764451052.
    let interval = Interval::of(&[-1.0, 0.0, 1.0, 2.0, 3.0]).unwrap();
    let half = 2.7764451052 * (2.5_f64 / 5.0).sqrt();
    assert!((interval.low - (1.0 - half)).abs() < 1e-6 && (interval.high - (1.0 + half)).abs() < 1e-6);
    // t = √2 with 4 degrees of freedom.
    assert!((interval.p - 0.2301996410804).abs() < 1e-6, "{}", interval.p);
    assert_eq!(Interval::of(&[1.0]), None);
    assert_eq!(Interval::of(&[1.0, f64::NAN]), None);
    assert_eq!(Interval::of(&[0.0, 0.0]).unwrap().p, 1.0);
    assert_eq!(Interval::of(&[2.0, 2.0]).unwrap().p, 0.0);
}

#[test]
fn p_values_are_adjusted_step_by_step() {
    let adjusted = holm(&[0.04, 0.01, 0.03]);
    for (found, expected) in adjusted.iter().zip([0.06, 0.03, 0.06]) {
        assert!((found - expected).abs() < 1e-12);
    }
    assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
}
