use super::*;

/// A matrix with known eigenvalues: reflections of a diagonal.
fn matrix(values: &[f64]) -> impl Fn(&[f64]) -> Vec<f64> {
    let n = values.len();
    let mut mirror: Vec<f64> = (0..n).map(|place| 1.0 + (place % 3) as f64).collect();
    let length = norm(mirror.iter().copied());
    mirror.iter_mut().for_each(|value| *value /= length);
    let values = values.to_vec();
    move |vector| {
        let reflect = |vector: Vec<f64>| {
            let along = 2.0 * dot(&mirror, &vector);
            vector.iter().zip(&mirror).map(|(value, mirror)| value - along * mirror).collect::<Vec<f64>>()
        };
        let inner = reflect(vector.to_vec());
        reflect(inner.iter().zip(&values).map(|(value, scale)| value * scale).collect())
    }
}

fn top(values: &[f64], wanted: usize, most: u32) -> Curvature {
    let product = matrix(values);
    let start = start_vector(5, values.len());
    top_eigenvalues(wanted, most, start, |vector| Ok::<_, std::convert::Infallible>(product(vector))).unwrap()
}

#[test]
fn the_greatest_eigenvalues_are_found_with_few_products() {
    let mut values: Vec<f64> = (0..200).map(|place| place as f64 / 200.0).collect();
    values.extend([40.0, 20.0, 10.0]);
    let found = top(&values, 3, 100);
    for (found, expected) in found.eigenvalues.iter().zip([40.0, 20.0, 10.0]) {
        assert!((found - expected).abs() < 1e-3 * expected, "{found} {expected}");
    }
    assert!(found.residuals.iter().all(|residual| *residual <= 0.04) && found.products < 20, "{found:?}");
}

#[test]
fn a_small_space_is_searched_to_its_end() {
    let found = top(&[1.0, -3.0, 2.0], 3, 100);
    for (found, expected) in found.eigenvalues.iter().zip([2.0, 1.0, -3.0]) {
        assert!((found - expected).abs() < 1e-9);
    }
    // More are asked for than there are.
    assert_eq!(top(&[1.0, 2.0], 5, 100).eigenvalues.len(), 2);
}

#[test]
fn the_trace_is_the_mean_over_probes() {
    let values: Vec<f64> = (0..50).map(f64::from).collect();
    let product = matrix(&values);
    let probes = (0..400).map(|probe| {
        let vector = rademacher(9, probe, values.len());
        hutchinson(&vector, &product(&vector))
    });
    let probes: Vec<f64> = probes.collect();
    let spread = crate::evaluate::Spread::of(&probes).unwrap();
    let error = spread.std.unwrap() / (spread.n as f64).sqrt();
    assert!((spread.mean - 1225.0).abs() < 3.0 * error, "{spread:?}");
}
