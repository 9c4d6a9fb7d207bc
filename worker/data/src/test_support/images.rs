//! Writes images: PNG, and the simplest kind of JPEG (baseline, no subsampling, codes of one length).

use std::f64::consts::PI;

/// A PNG of pixels [height, width, channels].
pub(crate) fn png(height: usize, width: usize, channels: usize, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(match channels {
        1 => png::ColorType::Grayscale,
        2 => png::ColorType::GrayscaleAlpha,
        3 => png::ColorType::Rgb,
        _ => png::ColorType::Rgba,
    });
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    bytes
}

/// A JPEG of pixels [height, width, channels], with 1 or 3 channels; `quantum` is the quantisation step of all
/// coefficients.
pub(crate) fn jpeg(height: usize, width: usize, channels: usize, pixels: &[u8], quantum: u8) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8];
    segment(&mut bytes, 0xdb, &[vec![0], vec![quantum; 64]].concat());
    let mut frame =
        vec![8, (height >> 8) as u8, height as u8, (width >> 8) as u8, width as u8, channels as u8];
    (1..=channels as u8).for_each(|component| frame.extend([component, 0x11, 0]));
    segment(&mut bytes, 0xc0, &frame);
    // Twelve sizes of differences in codes of 4 bits, all runs and sizes in codes of 8 bits.
    segment(&mut bytes, 0xc4, &table(0x00, 4, 12));
    segment(&mut bytes, 0xc4, &table(0x10, 8, 255));
    let mut scan = vec![channels as u8];
    (1..=channels as u8).for_each(|component| scan.extend([component, 0]));
    scan.extend([0, 63, 0]);
    segment(&mut bytes, 0xda, &scan);
    let mut bits = Bits { bytes, held: 0, count: 0 };
    let planes = planes(height, width, channels, pixels);
    let mut previous = vec![0; channels];
    for (top, left) in
        (0..height).step_by(8).flat_map(|top| (0..width).step_by(8).map(move |left| (top, left)))
    {
        for (plane, previous) in planes.iter().zip(&mut previous) {
            let at = |row: usize, column: usize| {
                plane[(top + row).min(height - 1) * width + (left + column).min(width - 1)]
            };
            block(&mut bits, &coefficients(at, quantum), previous);
        }
    }
    while bits.count > 0 {
        bits.push(1, 1);
    }
    bits.bytes.extend([0xff, 0xd9]);
    bits.bytes
}

fn segment(bytes: &mut Vec<u8>, marker: u8, content: &[u8]) {
    let length = content.len() as u16 + 2;
    bytes.extend([0xff, marker]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(content);
}

/// A Huffman table in which the symbols from 0 on have codes of one length, in order.
fn table(class: u8, length: usize, symbols: u8) -> Vec<u8> {
    let mut table = vec![class];
    table.extend((1..=16).map(|bits| if bits == length { symbols } else { 0 }));
    table.extend(0..symbols);
    table
}

/// Luma and chroma planes by JFIF, or the grey plane.
fn planes(height: usize, width: usize, channels: usize, pixels: &[u8]) -> Vec<Vec<f64>> {
    if channels == 1 {
        return vec![pixels.iter().map(|&grey| f64::from(grey)).collect()];
    }
    let weights = [[0.299, 0.587, 0.114], [-0.168_736, -0.331_264, 0.5], [0.5, -0.418_688, -0.081_312]];
    let plane = |(component, weights): (usize, [f64; 3])| {
        let offset = if component == 0 { 0.0 } else { 128.0 };
        let value = |rgb: &[u8; 3]| {
            offset + rgb.iter().zip(weights).map(|(&value, weight)| weight * f64::from(value)).sum::<f64>()
        };
        pixels[..height * width * 3].as_chunks::<3>().0.iter().map(value).collect()
    };
    weights.into_iter().enumerate().map(plane).collect()
}

/// The quantised cosine transform of a block, in zigzag order.
fn coefficients(at: impl Fn(usize, usize) -> f64, quantum: u8) -> [i32; 64] {
    let cosine = |place: usize, wave: usize| ((2 * place + 1) as f64 * wave as f64 * PI / 16.0).cos();
    let scale = |wave: usize| if wave == 0 { 0.5_f64.sqrt() / 2.0 } else { 0.5 };
    let mut rows = [[0.0; 8]; 8];
    for (row, waves) in rows.iter_mut().enumerate() {
        for (wave, sum) in waves.iter_mut().enumerate() {
            *sum = (0..8).map(|column| (at(row, column) - 128.0) * cosine(column, wave)).sum::<f64>();
        }
    }
    let both = |down: usize, along: usize| {
        let sum: f64 = (0..8).map(|row| rows[row][along] * cosine(row, down)).sum();
        (sum * scale(down) * scale(along) / f64::from(quantum)).round() as i32
    };
    let mut order: Vec<(usize, usize)> = (0..64).map(|place| (place / 8, place % 8)).collect();
    order.sort_by_key(|&(down, along)| {
        let diagonal = down + along;
        (diagonal, if diagonal % 2 == 0 { along } else { down })
    });
    let mut result = [0; 64];
    result.iter_mut().zip(order).for_each(|(value, (down, along))| *value = both(down, along));
    result
}

fn block(bits: &mut Bits, coefficients: &[i32; 64], previous: &mut i32) {
    let difference = coefficients[0] - *previous;
    *previous = coefficients[0];
    let size = magnitude(difference);
    bits.push(size, 4);
    bits.number(difference, size);
    let mut zeros = 0;
    for &value in &coefficients[1..] {
        if value == 0 {
            zeros += 1;
            continue;
        }
        while zeros > 15 {
            bits.push(0xf0, 8);
            zeros -= 16;
        }
        let size = magnitude(value);
        bits.push(zeros << 4 | size, 8);
        bits.number(value, size);
        zeros = 0;
    }
    if zeros > 0 {
        bits.push(0, 8);
    }
}

fn magnitude(value: i32) -> u32 {
    32 - value.unsigned_abs().leading_zeros()
}

struct Bits {
    bytes: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            self.held = self.held << 1 | (value >> bit & 1);
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.held as u8);
                if self.held as u8 == 0xff {
                    self.bytes.push(0);
                }
                (self.held, self.count) = (0, 0);
            }
        }
    }

    fn number(&mut self, value: i32, size: u32) {
        let value = if value < 0 { value - 1 } else { value };
        self.push(value as u32, size);
    }
}
