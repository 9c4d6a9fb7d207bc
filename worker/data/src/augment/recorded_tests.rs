//! What torchvision makes of a small image (`tests/python/record_augmentations.py`), and what is made of it here.

use super::*;
use crate::draws::{Jitter, JitterStep, Operation, Trivial};

/// Rounding to six digits, and that of sums in another order.
const TOLERANCE: f32 = 3e-6;

fn recorded(name: &str) -> Vec<f32> {
    let all: serde_json::Value = serde_json::from_str(include_str!("recorded.json")).unwrap();
    let values = all[name].as_array().unwrap_or_else(|| panic!("{name} is recorded"));
    values.iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

fn planes() -> Planes {
    Planes::of(&[3, 5, 6])
}

/// The image by its definition, so that values are the exact ones.
fn image() -> Vec<f32> {
    let level = |place: usize| {
        let (c, y, x) = (place / 30, place / 6 % 5, place % 6);
        (c * 71 + y * 37 + x * 53 + (x * y * c) % 11 * 13) % 256
    };
    (0..90).map(|place| level(place) as f32 / 255.0).collect()
}

/// Pixels of many levels, [3, 24, 30].
fn many() -> Vec<usize> {
    (0..3).flat_map(|c| (0..720).map(move |i| (c * 71 + i * i * 3 + i * 7) % 97)).collect()
}

fn assert_near(found: &[f32], name: &str) {
    let expected = recorded(name);
    assert_eq!(found.len(), expected.len(), "{name}");
    for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() <= TOLERANCE, "{name}, value {place}: {found}, expected {expected}");
    }
}

fn changed(changes: Changes) -> Vec<f32> {
    let transform = Transform::new(planes(), &Augment::default(), None);
    let mut target = vec![f32::NAN; 90];
    transform.apply(&image(), &changes, &mut target);
    target
}

#[test]
fn the_steps_of_a_colour_jitter_are_those_of_torchvision() {
    assert_near(&image(), "image");
    for (name, step, factor) in [
        ("brightness 1.5", JitterStep::Brightness, 1.5),
        ("contrast 0.4", JitterStep::Contrast, 0.4),
        ("saturation 1.7", JitterStep::Saturation, 1.7),
        ("hue 0.2", JitterStep::Hue, 0.2),
        ("hue -0.35", JitterStep::Hue, -0.35),
    ] {
        let steps = [(step, Some(factor)), (step, None), (step, None), (step, None)];
        assert_near(&changed(Changes { jitter: Some(Jitter::of(steps)), ..Changes::default() }), name);
    }
}

#[test]
fn the_operations_of_trivial_augment_are_those_of_torchvision() {
    for (name, operation, strength) in [
        ("image", Operation::Identity, 0.0),
        ("shear_x 0.33", Operation::ShearX, 0.33),
        ("shear_y -0.62", Operation::ShearY, -0.62),
        ("translate_x 2", Operation::TranslateX, 2.9),
        ("translate_y -1", Operation::TranslateY, -1.2),
        ("rotate 31.5", Operation::Rotate, 31.5),
        ("brightness 1.5", Operation::Brightness, 0.5),
        ("contrast 0.4", Operation::Contrast, -0.6),
        ("saturation 1.7", Operation::Color, 0.7),
        ("sharpness 1.6", Operation::Sharpness, 0.6),
        ("posterize 3", Operation::Posterize, 3.0),
        ("solarize 100", Operation::Solarize, 100.0),
    ] {
        let trivial = Some(Trivial { operation, strength });
        assert_near(&changed(Changes { trivial, ..Changes::default() }), name);
    }
    let mut half: Vec<f32> = image().iter().map(|value| value * 0.5 + 0.2).collect();
    colour::autocontrast(&mut half, planes());
    assert_near(&half, "autocontrast of half");
    let mut many: Vec<f32> = many().iter().map(|&level| level as f32 / 255.0).collect();
    colour::equalize(&mut many, Planes::of(&[3, 24, 30]));
    assert_near(&many.iter().step_by(20).copied().collect::<Vec<_>>(), "equalize");
}

#[test]
fn areas_are_resized_as_torchvision_does_with_antialiasing() {
    for (name, row, column, height, width) in
        [("area 1 2 3 2", 1, 2, 3, 2), ("area 0 0 5 6", 0, 0, 5, 6), ("area 0 1 5 3", 0, 1, 5, 3)]
    {
        let resized = Some(Area { row, column, height, width });
        assert_near(&changed(Changes { resized, ..Changes::default() }), name);
    }
    let rows = many();
    let wide: Vec<f32> =
        (0..20).flat_map(|row| rows[row * 30..row * 30 + 27].to_vec()).map(|v| v as f32 / 96.0).collect();
    assert_near(&resample::smaller(&wide, [20, 27], [5, 6]), "smaller");
}

#[test]
fn erasing_blanks_an_area_and_cutmix_takes_one_from_the_partner() {
    let area = Area { row: 1, column: 2, height: 2, width: 3 };
    let erased = changed(Changes { erased: Some(area), ..Changes::default() });
    let is_inside = |place: usize| (1..3).contains(&(place / 6 % 5)) && (2..5).contains(&(place % 6));
    for (place, (found, before)) in erased.iter().zip(image()).enumerate() {
        assert_eq!(*found, if is_inside(place) { 0.0 } else { before }, "{place}");
    }
    let (mut own, mut other) = (image(), vec![2.0; 90]);
    mix(&mut own, &mut other, planes(), &Mixture { partner: 0, share: 0.2, area: Some(area) });
    for (place, (found, before)) in own.iter().zip(image()).enumerate() {
        assert_eq!(*found, if is_inside(place) { 2.0 } else { before }, "{place}");
    }
}
