//! Changes of colours of images with values from 0 to 1, by the definitions of torchvision's functions on floating-point
//! images (`adjust_brightness`, `adjust_contrast`, `adjust_saturation`, `adjust_hue`, `adjust_sharpness`, `autocontrast`).
//! Images without three channels have no saturation and no hue.

use crate::draws::{Jitter, JitterStep};
use crate::planes::Planes;

/// Applies the steps of a colour jitter in their order.
pub(super) fn jitter(image: &mut [f32], planes: Planes, jitter: &Jitter) {
    for (step, factor) in jitter.steps() {
        match step {
            JitterStep::Brightness => brightness(image, factor),
            JitterStep::Contrast => contrast(image, planes, factor),
            JitterStep::Saturation => saturation(image, planes, factor),
            JitterStep::Hue => hue(image, planes, factor),
        }
    }
}

/// `factor` of a value and the rest of another, within 0 and 1.
fn blend(value: f32, other: f32, factor: f32) -> f32 {
    (factor * value + (1.0 - factor) * other).clamp(0.0, 1.0)
}

pub(super) fn brightness(image: &mut [f32], factor: f32) {
    image.iter_mut().for_each(|value| *value = blend(*value, 0.0, factor));
}

pub(super) fn contrast(image: &mut [f32], planes: Planes, factor: f32) {
    let grey = match channels(image, planes) {
        Some(_) => greys(image, planes),
        None => image.to_vec(),
    };
    let sum: f64 = grey.iter().map(|&value| f64::from(value)).sum();
    let mean = (sum / grey.len() as f64) as f32;
    image.iter_mut().for_each(|value| *value = blend(*value, mean, factor));
}

pub(super) fn saturation(image: &mut [f32], planes: Planes, factor: f32) {
    if channels(image, planes).is_none() {
        return;
    }
    let grey = greys(image, planes);
    for plane in image.chunks_exact_mut(planes.height * planes.width) {
        plane.iter_mut().zip(&grey).for_each(|(value, &grey)| *value = blend(*value, grey, factor));
    }
}

/// The three channels; `None` if there are not three.
fn channels(image: &[f32], planes: Planes) -> Option<[&[f32]; 3]> {
    let plane = planes.height * planes.width;
    match planes.channels {
        3 => Some([&image[..plane], &image[plane..2 * plane], &image[2 * plane..]]),
        _ => None,
    }
}

/// The brightness of each pixel, as torchvision's `rgb_to_grayscale` weighs colours.
fn greys(image: &[f32], planes: Planes) -> Vec<f32> {
    let Some([red, green, blue]) = channels(image, planes) else { return image.to_vec() };
    let pixels = red.iter().zip(green).zip(blue);
    pixels.map(|((red, green), blue)| 0.2989 * red + 0.587 * green + 0.114 * blue).collect()
}

fn hue(image: &mut [f32], planes: Planes, shift: f32) {
    if planes.channels != 3 {
        return;
    }
    let plane = planes.height * planes.width;
    for pixel in 0..plane {
        let rgb = [image[pixel], image[plane + pixel], image[2 * plane + pixel]];
        let [hue, saturation, value] = hsv(rgb);
        let turned = hue + shift;
        let rgb = rgb_of([turned - libm::floorf(turned), saturation, value]);
        (image[pixel], image[plane + pixel], image[2 * plane + pixel]) = (rgb[0], rgb[1], rgb[2]);
    }
}

/// Hue, saturation and value (A. R. Smith, Color Gamut Transform Pairs, 1978), each from 0 to 1.
fn hsv([red, green, blue]: [f32; 3]) -> [f32; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let range = most - least;
    if range == 0.0 {
        return [0.0, 0.0, most];
    }
    let [from_red, from_green, from_blue] = [red, green, blue].map(|value| (most - value) / range);
    let sixths = match () {
        () if most == red => from_blue - from_green,
        () if most == green => 2.0 + from_red - from_blue,
        () => 4.0 + from_green - from_red,
    };
    let hue = sixths / 6.0 + 1.0;
    [hue - libm::floorf(hue), range / most, most]
}

fn rgb_of([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let sixth = libm::floorf(hue * 6.0);
    let part = hue * 6.0 - sixth;
    let within = |value: f32| value.clamp(0.0, 1.0);
    let p = within(value * (1.0 - saturation));
    let q = within(value * (1.0 - saturation * part));
    let t = within(value * (1.0 - saturation * (1.0 - part)));
    match sixth as u32 % 6 {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    }
}

/// More or less of the difference to the image that is smoothed with the kernel 1 1 1, 1 5 1, 1 1 1 over 13; the border stays.
pub(super) fn sharpness(image: &mut [f32], planes: Planes, factor: f32) {
    let Planes { height, width, .. } = planes;
    if height <= 2 || width <= 2 {
        return;
    }
    for plane in image.chunks_exact_mut(height * width) {
        let before = plane.to_vec();
        for row in 1..height - 1 {
            for column in 1..width - 1 {
                let around = (row - 1..=row + 1).flat_map(|row| {
                    let start = row * width + column - 1;
                    before[start..start + 3].iter()
                });
                let place = row * width + column;
                let sum = around.sum::<f32>() + 4.0 * before[place];
                plane[place] = blend(before[place], sum / 13.0, factor);
            }
        }
    }
}

/// Spreads the values of each channel to the whole range.
pub(super) fn autocontrast(image: &mut [f32], planes: Planes) {
    for plane in image.chunks_exact_mut(planes.height * planes.width) {
        let (least, most) = plane.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), &value| {
            (least.min(value), most.max(value))
        });
        if most > least {
            plane.iter_mut().for_each(|value| *value = ((*value - least) / (most - least)).clamp(0.0, 1.0));
        }
    }
}

/// Of 256 levels.
fn level(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

/// Keeps the first bits of 8.
pub(super) fn posterize(image: &mut [f32], bits: u32) {
    let mask = !(0xff_u8.checked_shr(bits).unwrap_or(0));
    image.iter_mut().for_each(|value| *value = f32::from(level(*value) & mask) / 255.0);
}

/// Inverts values from a threshold in 256 levels on.
pub(super) fn solarize(image: &mut [f32], threshold: f32) {
    let threshold = threshold / 255.0;
    image.iter_mut().filter(|value| **value >= threshold).for_each(|value| *value = 1.0 - *value);
}

/// Gives each channel an even histogram of 256 levels, as Pillow and torchvision do.
pub(super) fn equalize(image: &mut [f32], planes: Planes) {
    for plane in image.chunks_exact_mut(planes.height * planes.width) {
        let mut histogram = [0_usize; 256];
        plane.iter().for_each(|&value| histogram[usize::from(level(value))] += 1);
        let last = histogram.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
        let step = (plane.len() - last) / 255;
        if step == 0 {
            continue;
        }
        let mut below = 0;
        let table = histogram.map(|count| {
            let level = ((below + step / 2) / step).min(255);
            below += count;
            level as u8
        });
        plane.iter_mut().for_each(|value| *value = f32::from(table[usize::from(level(*value))]) / 255.0);
    }
}
