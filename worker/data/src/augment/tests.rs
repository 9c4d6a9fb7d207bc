use super::*;

fn transform(shape: &[usize], crop_padding: usize, cutout: usize) -> Transform {
    let augment = Augment { crop_padding, cutout, ..Augment::default() };
    Transform::new(Planes::of(shape), &augment, None)
}

fn apply(transform: &Transform, image: &[f32], changes: Changes) -> Vec<f32> {
    let mut target = vec![f32::NAN; image.len()];
    transform.apply(image, &changes, &mut target);
    target
}

/// A plane of 3 rows and 4 columns with the values 1, 2, 3, …
fn image() -> Vec<f32> {
    (1..=12).map(|pixel| pixel as f32).collect()
}

/// The crop of the padded image by its definition, pixel by pixel.
fn reference(image: &[f32], padding: usize, down: usize, right: usize, flip: bool) -> Vec<f32> {
    let pixel = |row: usize, column: usize| {
        let column = if flip { 3 - column } else { column };
        let (row, column) = (row + down, column + right);
        let inside = (padding..padding + 3).contains(&row) && (padding..padding + 4).contains(&column);
        if inside { image[(row - padding) * 4 + column - padding] } else { 0.0 }
    };
    (0..12).map(|place| pixel(place / 4, place % 4)).collect()
}

#[test]
fn a_crop_is_a_piece_of_the_image_with_black_around_it() {
    for padding in [1, 2, 3] {
        let transform = transform(&[3, 4], padding, 0);
        for crop in (0..=2 * padding).flat_map(|down| (0..=2 * padding).map(move |right| (down, right))) {
            for flip in [false, true] {
                let found =
                    apply(&transform, &image(), Changes { crop: Some(crop), flip, ..Changes::default() });
                assert_eq!(found, reference(&image(), padding, crop.0, crop.1, flip), "{crop:?} {flip}");
            }
        }
    }
}

#[test]
fn without_a_draw_the_image_stays_where_it_is() {
    assert_eq!(apply(&transform(&[3, 4], 2, 0), &image(), Changes::default()), image());
    assert_eq!(apply(&transform(&[12], 0, 0), &image(), Changes::default()), image());
}

#[test]
fn all_channels_are_changed_alike() {
    let twice = [image(), image()].concat();
    let changes = Changes { crop: Some((0, 2)), flip: true, cutout: Some((1, 1)), ..Changes::default() };
    let one = apply(&transform(&[1, 3, 4], 1, 2), &image(), changes);
    assert_eq!(apply(&transform(&[2, 3, 4], 1, 2), &twice, changes), [one.clone(), one].concat());
}

#[test]
fn channels_are_normalised_and_the_blanked_square_is_their_mean() {
    let normalize = Normalize { mean: vec![1.0, 10.0], std: vec![2.0, 4.0] };
    let augment = Augment { cutout: 1, ..Augment::default() };
    let transform = Transform::new(Planes::of(&[2, 1, 3]), &augment, Some(normalize));
    let changes = Changes { cutout: Some((0, 1)), ..Changes::default() };
    let found = apply(&transform, &[1.0, 2.0, 3.0, 2.0, 10.0, 14.0], changes);
    assert_eq!(found, [0.0, 0.0, 1.0, -2.0, 0.0, 1.0]);
}

#[test]
fn the_square_is_cut_off_at_the_edges() {
    let ones = [1.0; 12];
    for (cutout, centre, blanked) in [
        (2, (0, 0), vec![0]),
        (2, (1, 1), vec![0, 1, 4, 5]),
        (2, (2, 3), vec![6, 7, 10, 11]),
        (3, (2, 3), vec![6, 7, 10, 11]),
        (3, (1, 1), vec![0, 1, 2, 4, 5, 6, 8, 9, 10]),
    ] {
        let changes = Changes { cutout: Some(centre), ..Changes::default() };
        let found = apply(&transform(&[3, 4], 0, cutout), &ones, changes);
        let zeros: Vec<usize> = (0..12).filter(|&place| found[place] == 0.0).collect();
        assert_eq!(zeros, blanked, "{cutout} at {centre:?}");
    }
}

#[test]
fn a_mixture_is_the_weighted_sum() {
    let mut image = [1.0, 2.0];
    blend(&mut image, &[5.0, 0.0], 0.25);
    assert_eq!(image, [2.0, 1.5]);
}
