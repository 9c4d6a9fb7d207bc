use proptest::prelude::*;

use super::*;

const BF16: ExchangeFormat = ExchangeFormat::Bf16;

/// The value of bf16 nearest to a value, found by comparing with its two neighbours.
fn nearest(value: f32) -> f32 {
    let below = f32::from_bits(value.to_bits() & 0xffff_0000);
    let above = f32::from_bits((value.to_bits() & 0xffff_0000).wrapping_add(0x1_0000));
    let distance = |other: f32| (f64::from(other) - f64::from(value)).abs();
    // Beyond the largest value, the next one would be 2^128.
    let to_above =
        if above.is_infinite() { 2_f64.powi(128) - f64::from(value.abs()) } else { distance(above) };
    let is_even = |other: f32| (other.to_bits() >> 16).is_multiple_of(2);
    match distance(below).total_cmp(&to_above) {
        std::cmp::Ordering::Less => below,
        std::cmp::Ordering::Greater => above,
        std::cmp::Ordering::Equal => {
            if is_even(below) {
                below
            } else {
                above
            }
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #[test]
    fn values_are_rounded_to_the_nearest_and_ties_to_even(pattern: u32, tie: bool) {
        let pattern = if tie { (pattern & 0xffff_0000) | 0x8000 } else { pattern };
        let value = f32::from_bits(pattern);
        prop_assume!(value.is_finite());
        let mut values = [value];
        let overflows = BF16.round(&mut values).is_err();
        prop_assert_eq!(bits(&values), bits(&[nearest(value)]));
        prop_assert_eq!(overflows, values[0].is_infinite());
        let once = values;
        let _ = BF16.round(&mut values);
        prop_assert_eq!(bits(&values), bits(&once), "rounding twice is rounding once");
    }

    #[test]
    fn what_travels_in_pieces_of_any_length_arrives_as_it_was(
        values in prop::collection::vec(any::<f32>().prop_filter("a number", |value| !value.is_nan()), 1..40),
        cuts in prop::collection::vec(1_usize..9, 0..20),
    ) {
        for format in [ExchangeFormat::F32, BF16] {
            let mut rounded = values.clone();
            let _ = format.round(&mut rounded);
            let bytes = format.bytes_of(&rounded).into_owned();
            prop_assert_eq!(bytes.len(), values.len() * format.bytes());
            let shared = Arc::new(FlatBuffer::from(rounded.clone()));
            let from = values.len() / 2;
            let half = format.bytes_within(&shared, from..values.len());
            prop_assert_eq!(&half[..], &bytes[from * format.bytes()..]);
            prop_assert_eq!(&format.into_bytes(shared)[..], &bytes[..]);
            prop_assert_eq!(bits(&format.values_of(&bytes)), bits(&rounded));
            // The memory held something else before.
            let mut arrived = vec![f32::MAX; values.len()];
            let (mut start, mut cuts) = (0, cuts.iter().cycle());
            while start < bytes.len() {
                let end = (start + cuts.next().unwrap_or(&bytes.len())).min(bytes.len());
                format.place(&mut arrived, start, &bytes[start..end]);
                start = end;
            }
            prop_assert_eq!(bits(&arrived), bits(&rounded));
        }
    }
}

#[test]
fn a_sum_is_rounded_once_and_f32_inside() {
    // In bf16, 1 + 2⁻⁹ is 1: a sum in bf16 of 1 and 2⁻⁸ + 2⁻⁹ would be a tie, that in f32 is not.
    let (left, right) = (1.0_f32, 2_f32.powi(-8) + 2_f32.powi(-9));
    let mut sum = [left];
    BF16.add_assign(&mut sum, &[right]);
    assert_eq!(sum, [1.0 + 2_f32.powi(-7)]);
    ExchangeFormat::F32.add_assign(&mut sum, &[right]);
    assert_eq!(sum, [1.0 + 2_f32.powi(-7) + right]);
}

#[test]
fn large_arrays_are_the_same_as_their_parts() {
    let many: Vec<f32> = (0..3 * GRAIN + 5).map(|index| (index as f32).sin() * 1e-3).collect();
    let (mut sum, mut rounded) = (many.clone(), many.clone());
    BF16.add_assign(&mut sum, &many);
    BF16.round(&mut rounded).unwrap();
    let alone = |value: f32| bf16::from_f32(value).to_f32();
    assert_eq!(bits(&sum), bits(&many.iter().map(|value| alone(value + value)).collect::<Vec<_>>()));
    assert_eq!(bits(&rounded), bits(&many.iter().map(|value| alone(*value)).collect::<Vec<_>>()));
    assert_eq!(BF16.values_of(&BF16.bytes_of(&rounded)), rounded);
}

#[test]
fn a_finite_value_that_becomes_infinite_is_found_and_an_infinite_one_is_no_overflow() {
    let mut values = vec![1.0; 2 * GRAIN];
    values[GRAIN + 7] = f32::MAX;
    assert_eq!(BF16.round(&mut values.clone()), Err(Overflow { index: GRAIN + 7 }));
    assert_eq!(ExchangeFormat::F32.round(&mut values), Ok(()));
    values[GRAIN + 7] = f32::NEG_INFINITY;
    assert_eq!(BF16.round(&mut values), Ok(()));
    assert_eq!(values[GRAIN + 7], f32::NEG_INFINITY);
}

#[test]
fn not_a_number_stays_one() {
    let mut values = [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)];
    assert_eq!(BF16.round(&mut values), Ok(()));
    assert!(values.iter().all(|value| value.is_nan()));
    assert!(BF16.values_of(&BF16.bytes_of(&values)).iter().all(|value| value.is_nan()));
}
