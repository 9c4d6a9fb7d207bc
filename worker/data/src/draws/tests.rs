use super::*;

const PASS: SampleContext = SampleContext { seed: 7, epoch: 3 };

fn everything() -> Augment {
    Augment { crop_padding: 4, flip: true, cutout: 8, mixup: 0.3, ..Augment::default() }
}

fn planes() -> Planes {
    Planes::of(&[3, 32, 24])
}

#[test]
fn draws_depend_on_seed_epoch_and_sample_and_on_nothing_else() {
    let draw = |context, sample| {
        let augment = everything();
        (
            Changes::of(&augment, planes(), context, sample),
            Mixture::of(&augment, planes(), 1000, context, sample),
        )
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
        let shares: Vec<f64> = (0..20_000)
            .map(|sample| Mixture::of(&augment, planes(), 10, PASS, sample).unwrap().share.into())
            .collect();
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
            let share = Mixture::of(&augment, planes(), 10, PASS, sample).unwrap().share;
            assert!((0.0..=1.0).contains(&share), "α = {alpha}: {share}");
        }
    }
}

#[test]
fn partners_come_from_the_whole_split() {
    let augment = Augment { mixup: 1.0, ..Augment::default() };
    let mut found = [false; 20];
    for sample in 0..400 {
        found[Mixture::of(&augment, planes(), 20, PASS, sample).unwrap().partner as usize] = true;
    }
    assert_eq!(found, [true; 20]);
    assert_eq!(Mixture::of(&Augment::default(), planes(), 20, PASS, 0), None);
}

/// Every change that there is.
fn all_changes() -> Augment {
    Augment {
        cutmix: 1.0,
        random_resized_crop: Some(crate::options::ResizedCrop::default()),
        color_jitter: Some(crate::options::ColorJitter {
            brightness: 0.4,
            contrast: 0.3,
            saturation: 0.2,
            hue: 0.1,
        }),
        trivial_augment: true,
        random_erasing: 0.5,
        ..everything()
    }
}

#[test]
fn new_changes_leave_the_draws_of_others_as_they_are() {
    for sample in 0..100 {
        let (alone, together) = (everything(), all_changes());
        let (alone, together) =
            (Changes::of(&alone, planes(), PASS, sample), Changes::of(&together, planes(), PASS, sample));
        let Changes { crop, flip, cutout, .. } = together;
        assert_eq!(alone, Changes { crop, flip, cutout, ..Changes::default() });
        assert_eq!(together, Changes::of(&all_changes(), planes(), PASS, sample));
    }
}

#[test]
fn areas_lie_within_the_image_and_have_shares_and_ratios_in_their_ranges() {
    let (mut erased, mut shares) = (0, Vec::new());
    for sample in 0..4000 {
        let changes = Changes::of(&all_changes(), planes(), PASS, sample);
        let area = changes.resized.unwrap();
        assert!(area.row + area.height <= 32 && area.column + area.width <= 24, "{area:?}");
        let share = (area.height * area.width) as f64 / (32.0 * 24.0);
        let ratio = area.width as f64 / area.height as f64;
        // Sides are whole numbers: by half a pixel they may be beyond.
        assert!((0.06..=1.0).contains(&share) && (0.65..=1.5).contains(&ratio), "{area:?}");
        shares.push(share);
        if let Some(Area { row, column, height, width }) = changes.erased {
            assert!(row + height <= 32 && column + width <= 24 && height < 32 && width < 24);
            erased += 1;
        }
    }
    assert!((1700..2100).contains(&erased), "{erased}: half of them, less those for which no area fits");
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!((0.42..0.54).contains(&mean), "{mean}");
}

#[test]
fn an_image_that_no_ratio_fits_is_cut_at_its_centre() {
    let narrow = Planes::of(&[1, 100, 2]);
    let augment = Augment {
        random_resized_crop: Some(crate::options::ResizedCrop { scale: [0.9, 1.0], ratio: [1.0, 1.0] }),
        ..Augment::default()
    };
    let area = Changes::of(&augment, narrow, PASS, 0).resized.unwrap();
    assert_eq!(area, Area { row: 49, column: 0, height: 2, width: 2 });
}

#[test]
fn every_operation_is_drawn_with_strengths_of_both_signs() {
    let mut drawn = std::collections::BTreeMap::new();
    for sample in 0..6000 {
        let Trivial { operation, strength } =
            Changes::of(&all_changes(), planes(), PASS, sample).trivial.unwrap();
        let (count, least, most) = drawn.entry(format!("{operation:?}")).or_insert((0, strength, strength));
        (*count, *least, *most) = (*count + 1, least.min(strength), most.max(strength));
    }
    assert_eq!(drawn.len(), 14);
    assert!(drawn.values().all(|(count, ..)| (340..520).contains(count)), "{drawn:?}");
    let range = |name: &str| (drawn[name].1, drawn[name].2);
    assert_eq!((range("ShearX"), range("Rotate")), ((-0.99, 0.99), (-135.0, 135.0)));
    assert_eq!((range("TranslateY"), range("Posterize")), ((-32.0, 32.0), (2.0, 8.0)));
    assert_eq!((range("Solarize"), range("Equalize")), ((0.0, 255.0), (0.0, 0.0)));
}

#[test]
fn the_share_of_a_cut_mixture_is_that_of_its_pixels() {
    let augment = Augment { cutmix: 1.0, ..Augment::default() };
    let mut shares = Vec::new();
    for sample in 0..4000 {
        let Mixture { area, share, .. } = Mixture::of(&augment, planes(), 10, PASS, sample).unwrap();
        let area = area.unwrap();
        assert!(area.row + area.height <= 32 && area.column + area.width <= 24);
        assert_eq!(share, ((area.height * area.width) as f64 / 768.0) as f32);
        shares.push(f64::from(share));
    }
    // 1 - λ is uniform; at the edges, parts of areas are cut off.
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!((0.2..0.5).contains(&mean), "{mean}");
    let both = Augment { mixup: 1.0, ..augment };
    let cut = (0..1000).filter(|&sample| {
        Mixture::of(&both, planes(), 10, PASS, sample).is_some_and(|mixture| mixture.area.is_some())
    });
    assert!((430..570).contains(&cut.count()));
}
