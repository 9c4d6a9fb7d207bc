use super::*;

const WEIGHTS: [f32; 4] = [1.0, -0.5, 0.0, 2.0];

#[test]
fn what_is_within_the_set_stays() {
    for ball in [Ball::Sphere, Ball::Ellipsoid, Ball::Box] {
        let mut delta = [0.01, -0.01, 0.0, 0.02];
        ball.project(&mut delta, &WEIGHTS, 0.5);
        assert_eq!(delta, [0.01, -0.01, 0.0, 0.02], "{ball:?}");
    }
}

#[test]
fn what_is_outside_comes_to_the_surface() {
    let far = [3.0, -2.0, 1.0, 5.0];
    let mut delta = far;
    Ball::Sphere.project(&mut delta, &WEIGHTS, 0.5);
    assert!((norm(delta.iter().copied()) - 0.5).abs() < 1e-12);
    let mut delta = far;
    Ball::Box.project(&mut delta, &WEIGHTS, 0.5);
    assert_eq!(delta, [0.5, -0.25, 0.0, 1.0]);
    let mut delta = far;
    Ball::Ellipsoid.project(&mut delta, &WEIGHTS, 0.5);
    let scaled = delta.iter().zip(WEIGHTS).filter(|(_, w)| *w != 0.0).map(|(d, w)| d / f64::from(w));
    assert!((norm(scaled) - 0.5).abs() < 1e-6);
    assert_eq!(delta[2], 0.0);
}

#[test]
fn no_point_of_the_ellipsoid_is_nearer() {
    let far = [3.0, -2.0, 0.0, 5.0];
    let mut delta = far;
    Ball::Ellipsoid.project(&mut delta, &WEIGHTS, 0.5);
    let distance = |point: &[f64]| norm(point.iter().zip(far).map(|(point, far)| point - far));
    let best = distance(&delta);
    for step in 0..400 {
        let angle = f64::from(step) * 0.1;
        let direction = [angle.cos(), (angle * 1.7).sin(), 0.0, (angle * 0.3).cos()];
        let length = norm(direction.into_iter());
        let point: Vec<f64> =
            direction.iter().zip(WEIGHTS).map(|(d, w)| 0.5 * d / length * f64::from(w.abs())).collect();
        assert!(distance(&point) >= best - 1e-6);
    }
}
