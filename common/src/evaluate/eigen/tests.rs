use super::*;

#[test]
fn eigenvectors_are_stretched_by_their_eigenvalues() {
    let n = 7;
    let raw = |row: usize, column: usize| ((row * 13 + column * 7) % 11) as f64 - 5.0;
    let matrix: Vec<f64> =
        (0..n * n).map(|place| raw(place / n, place % n) + raw(place % n, place / n)).collect();
    let found = symmetric_eigen(matrix.clone(), n);
    assert!(found.windows(2).all(|pair| pair[0].0 >= pair[1].0));
    for (value, vector) in &found {
        for row in 0..n {
            let image: f64 = (0..n).map(|column| matrix[row * n + column] * vector[column]).sum();
            assert!((image - value * vector[row]).abs() < 1e-12 * 50.0, "{image} {value}");
        }
    }
    let trace: f64 = (0..n).map(|place| matrix[place * n + place]).sum();
    assert!((found.iter().map(|(value, _)| value).sum::<f64>() - trace).abs() < 1e-10);
}

#[test]
fn a_diagonal_is_its_own_eigenvalues() {
    let found = symmetric_eigen(vec![1.0, 0.0, 0.0, 3.0], 2);
    assert_eq!(found, [(3.0, vec![0.0, 1.0]), (1.0, vec![1.0, 0.0])]);
    assert!(symmetric_eigen(Vec::new(), 0).is_empty());
}
