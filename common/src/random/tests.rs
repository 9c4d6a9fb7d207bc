//! Tests of keyed randomness.

use super::*;

fn draw(key: Key) -> [u64; 3] {
    let mut stream = key.stream();
    std::array::from_fn(|_| stream.below(1 << 32))
}

/// The expected numbers come from another implementation of ChaCha12.
#[test]
fn numbers_are_the_same_in_every_build() {
    let key =
        Key { layer: 2, epoch: 3, batch: 5, sample: 7, ..Key::new(0x0123_4567_89AB_CDEF, Purpose::Dropout) };
    assert_eq!(draw(key), [1_049_473_110, 1_045_206_583, 1_399_483_335]);
    let mut stream = Key::new(42, Purpose::InitialWeights).stream();
    assert_eq!([stream.uniform().to_bits(), stream.uniform().to_bits()], [0x3F49_B28F, 0x3EE8_8D98]);
    assert_eq!([stream.normal().to_bits(), stream.normal().to_bits()], [0x3FA4_4766, 0xBF23_645C]);
    assert_eq!(stream.uniform_between(-2.0, 3.0).to_bits(), 0xBEA5_0590);
}

#[test]
fn every_field_of_a_key_leads_to_other_numbers() {
    let key = Key::new(1, Purpose::Dropout);
    let others = [
        Key { seed: 2, ..key },
        Key { purpose: Purpose::Augmentation, ..key },
        Key { layer: 1, ..key },
        Key { epoch: 1, ..key },
        Key { batch: 1, ..key },
        Key { sample: 1, ..key },
    ];
    let mut drawn: Vec<_> = others.into_iter().chain([key]).map(draw).collect();
    assert_eq!(draw(key), drawn[6], "a key always leads to the same numbers");
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn.len(), 7);
}

#[test]
fn bounded_numbers_stay_below_the_bound_and_reach_all_of_it() {
    let mut stream = Key::new(1, Purpose::Order).stream();
    let mut counts = [0_u32; 7];
    for _ in 0..7000 {
        counts[stream.below(7) as usize] += 1;
    }
    // Each is expected a thousand times; five standard deviations are about 150.
    assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    assert_eq!((stream.below(1), stream.below(0)), (0, 0));
    assert!(stream.below(u64::MAX) < u64::MAX);
}

/// Three quarters of all 64-bit numbers: without rejection, the lowest third of the results would be twice as likely.
#[test]
fn bounded_numbers_have_no_bias_towards_the_low_ones() {
    let (mut stream, third) = (Key::new(1, Purpose::Order).stream(), 1_u64 << 62);
    let low = (0..3000).filter(|_| stream.below(3 * third) < third).count();
    assert!((870..1130).contains(&low), "{low}");
}

#[test]
fn uniform_numbers_fill_their_interval() {
    let mut stream = Key::new(1, Purpose::InitialWeights).stream();
    let numbers: Vec<f32> = (0..10_000).map(|_| stream.uniform_between(-1.0, 3.0)).collect();
    assert!(numbers.iter().all(|number| (-1.0..3.0).contains(number)));
    let mean = numbers.iter().sum::<f32>() / 10_000.0;
    assert!((mean - 1.0).abs() < 0.06, "{mean}");
}

#[test]
fn normal_numbers_have_mean_zero_and_variance_one() {
    let mut stream = Key::new(1, Purpose::InitialWeights).stream();
    let numbers: Vec<f64> = (0..20_000).map(|_| f64::from(stream.normal())).collect();
    let mean = numbers.iter().sum::<f64>() / 20_000.0;
    let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
    assert!(mean.abs() < 0.036 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
    assert!(numbers.iter().all(|x| x.is_finite()));
}
