//! Matrix products agree with float64, and every instruction set gives the same bytes.

use super::*;
use crate::agreement::normal_values;
use crate::lanes::tests::on_each_machine;

const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (3, 5, 2),
    (12, 32, 256),
    (13, 33, 257),
    (96, 64, 64),
    (100, 70, 600),
    (7, 1, 9),
    (1, 130, 31),
    (200, 16, 3),
];

/// Largest |result − exact| in units of Σ|a||b|·ε.
fn error(rows: usize, columns: usize, depth: usize, a: &[f32], b: &[f32], product: &[f32]) -> f64 {
    let mut worst = 0_f64;
    for row in 0..rows {
        for column in 0..columns {
            let terms =
                (0..depth).map(|p| f64::from(a[row * depth + p]) * f64::from(b[p * columns + column]));
            let (exact, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
            let error = (f64::from(product[row * columns + column]) - exact).abs();
            worst = worst.max(error / (size * f64::from(f32::EPSILON)));
        }
    }
    worst
}

fn product(rows: usize, columns: usize, depth: usize, a: &[f32], b: &[f32]) -> Vec<f32> {
    let panels = Panels::of_rows(b, depth, columns);
    super::product(rows, Lhs::rows(a, depth), panels.rhs())
}

#[test]
fn a_product_is_the_exact_one_but_for_rounding() {
    for (number, (rows, columns, depth)) in (0..).zip(SHAPES) {
        let (a, b) = (normal_values(number, rows * depth), normal_values(number + 100, depth * columns));
        let result = product(rows, columns, depth, &a, &b);
        let error = error(rows, columns, depth, &a, &b, &result);
        assert!(error < 12.0, "{rows}x{depth} times {depth}x{columns}: {error} ε");
    }
}

#[test]
fn a_product_has_the_same_bytes_on_every_machine_and_any_number_of_threads() {
    for (number, (rows, columns, depth)) in (0..).zip(SHAPES) {
        let (a, b) = (normal_values(number, rows * depth), normal_values(number + 100, depth * columns));
        let results = on_each_machine(|| product(rows, columns, depth, &a, &b));
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{rows}x{depth} times {depth}x{columns}");
    }
}

#[test]
fn transposed_operands_and_parts_of_the_depth_give_the_same_product() {
    let (rows, columns, depth) = (29, 45, 300);
    let (a, b) = (normal_values(1, rows * depth), normal_values(2, depth * columns));
    let expected = product(rows, columns, depth, &a, &b);
    let transpose = |matrix: &[f32], rows: usize, columns: usize| -> Vec<f32> {
        (0..columns)
            .flat_map(|column| (0..rows).map(move |row| (row, column)))
            .map(|(row, column)| matrix[row * columns + column])
            .collect()
    };
    let panels = Panels::of_columns(&transpose(&b, depth, columns), depth, columns);
    let a = transpose(&a, rows, depth);
    let mut result = vec![0_f32; rows * columns];
    for first in (0..depth).step_by(SLICE) {
        let part = first..depth.min(first + SLICE);
        let output = Output { elements: &mut result, row: columns, accumulate: first > 0 };
        let lhs = Lhs { elements: &a[part.start * rows..], ..Lhs::transposed(&a, rows) };
        multiply(rows, lhs, panels.rhs().slice(part), output);
    }
    assert_eq!(result, expected);
}

#[test]
fn nothing_behind_the_last_column_is_written() {
    let (a, b) = (normal_values(1, 5 * 4), normal_values(2, 4 * 3));
    let mut result = vec![7_f32; 5 * 10];
    let panels = Panels::of_rows(&b, 4, 3);
    multiply(5, Lhs::rows(&a, 4), panels.rhs(), Output { elements: &mut result, row: 10, accumulate: false });
    assert!(result.chunks(10).all(|row| row[3..].iter().all(|&value| value == 7.0) && row[..3] != [7.0; 3]));
}

#[test]
fn operands_that_are_too_short_are_refused_also_where_their_length_would_overflow() {
    let (a, b) = (normal_values(1, 5 * 4), normal_values(2, 4 * 3));
    let panels = Panels::of_rows(&b, 4, 3);
    let refused = |rows: usize, lhs: Lhs<'_>, row: usize, len: usize| {
        let mut result = vec![0_f32; len];
        let output = Output { elements: &mut result, row, accumulate: false };
        let multiplied = std::panic::AssertUnwindSafe(|| multiply(rows, lhs, panels.rhs(), output));
        std::panic::catch_unwind(multiplied).is_err()
    };
    assert!(!refused(5, Lhs::rows(&a, 4), 3, 15));
    assert!(refused(6, Lhs::rows(&a, 4), 3, 18));
    assert!(refused(5, Lhs::rows(&a, 4), 3, 14));
    assert!(refused(5, Lhs { elements: &a, row: usize::MAX / 4 + 1, step: 1 }, 3, 15));
    assert!(refused(5, Lhs::rows(&a, 4), usize::MAX / 4 + 1, 15));
}
