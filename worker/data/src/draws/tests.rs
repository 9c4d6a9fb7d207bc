use super::*;

const PASS: SampleContext = SampleContext { seed: 7, epoch: 3 };

fn everything() -> Augment {
    Augment { crop_padding: 4, flip: true, cutout: 8, mixup: 0.3 }
}

fn planes() -> Planes {
    Planes::of(&[3, 32, 24])
}

#[test]
fn draws_depend_on_seed_epoch_and_sample_and_on_nothing_else() {
    let draw = |context, sample| {
        let augment = everything();
        (Changes::of(&augment, planes(), context, sample), Mixture::of(&augment, 1000, context, sample))
    };
    let known = draw(PASS, 11);
    draw(PASS, 12);
    assert_eq!(draw(PASS, 11), known);
    assert_ne!(draw(PASS, 12), known);
    assert_ne!(draw(SampleContext { epoch: 4, ..PASS }, 11), known);
    assert_ne!(draw(SampleContext { seed: 8, ..PASS }, 11), known);
}

#[test]
fn what_one_change_draws_does_not_depend_on_the_others() {
    let alone = |augment: Augment| Changes::of(&augment, planes(), PASS, 5);
    let together = alone(everything());
    assert_eq!(alone(Augment { mixup: 0.0, cutout: 0, flip: false, ..everything() }).crop, together.crop);
    assert_eq!(alone(Augment { crop_padding: 0, cutout: 0, ..everything() }).flip, together.flip);
    assert_eq!(alone(Augment { crop_padding: 0, flip: false, ..everything() }).cutout, together.cutout);
}

#[test]
fn crops_flips_and_squares_are_spread_evenly() {
    let samples = 9000;
    let (mut offsets, mut flips, mut rows, mut columns) = ([0_u32; 9], 0_u32, [0_u32; 32], [0_u32; 24]);
    for sample in 0..samples {
        let changes = Changes::of(&everything(), planes(), PASS, sample);
        offsets[changes.crop.unwrap().0] += 1;
        flips += u32::from(changes.flip);
        let (row, column) = changes.cutout.unwrap();
        rows[row] += 1;
        columns[column] += 1;
    }
    let even = |counts: &[u32]| {
        let expected = samples as f64 / counts.len() as f64;
        counts.iter().all(|&count| (f64::from(count) - expected).abs() < 6.0 * expected.sqrt())
    };
    assert!(even(&offsets) && even(&rows) && even(&columns));
    assert!((f64::from(flips) / samples as f64 - 0.5).abs() < 0.03);
}

#[test]
fn shares_have_mean_and_variance_of_the_beta_distribution() {
    for alpha in [0.1, 0.5, 1.0, 4.0] {
        let augment = Augment { mixup: alpha, ..Augment::default() };
        let shares: Vec<f64> =
            (0..20_000).map(|sample| Mixture::of(&augment, 10, PASS, sample).unwrap().share.into()).collect();
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / shares.len() as f64;
        let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
        assert!((mean - 0.5).abs() < 0.015, "α = {alpha}: mean {mean}");
        assert!((variance / expected - 1.0).abs() < 0.06, "α = {alpha}: variance {variance}, {expected}");
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
    }
}

#[test]
fn the_smallest_and_largest_parameters_give_shares_too() {
    for alpha in [1e-300, 1e-9, 1e6] {
        let augment = Augment { mixup: alpha, ..Augment::default() };
        for sample in 0..100 {
            let share = Mixture::of(&augment, 10, PASS, sample).unwrap().share;
            assert!((0.0..=1.0).contains(&share), "α = {alpha}: {share}");
        }
    }
}

#[test]
fn partners_come_from_the_whole_split() {
    let augment = Augment { mixup: 1.0, ..Augment::default() };
    let mut found = [false; 20];
    for sample in 0..400 {
        found[Mixture::of(&augment, 20, PASS, sample).unwrap().partner as usize] = true;
    }
    assert_eq!(found, [true; 20]);
    assert_eq!(Mixture::of(&Augment::default(), 20, PASS, 0), None);
}
