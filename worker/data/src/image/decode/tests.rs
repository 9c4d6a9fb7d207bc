use lookbehind_data_fixtures::images::{jpeg, jpeg_with_exif, png, png16};

use super::*;
use crate::image::header::{Depth, Header, Pixels};

const LIMIT: u64 = 1 << 20;

fn any(_: &Facts) -> Result<(), ImageProblem> {
    Ok(())
}

fn decode(
    bytes: &[u8],
    limit: u64,
    accept: impl Fn(&Facts) -> Result<(), ImageProblem>,
) -> Result<Image, ImageProblem> {
    super::decode(bytes, limit, accept).map(|(image, ())| image)
}

fn header(height: usize, width: usize, channels: usize) -> Header {
    Header { height, width, channels, depth: Depth::Eight }
}

fn eight(image: Image) -> Vec<u8> {
    match image.pixels {
        Pixels::Eight(pixels) => pixels,
        Pixels::Sixteen(_) => panic!("an image of 8 bits"),
    }
}

fn pixels(height: usize, width: usize, channels: usize) -> Vec<u8> {
    (0..height * width * channels).map(|place| (place * 37 % 251) as u8).collect()
}

/// Low frequencies, which quantisation hardly changes.
fn waves(height: usize, width: usize, channels: usize) -> Vec<u8> {
    let value = |row: usize, column: usize, channel: usize| {
        128.0 + 90.0 * ((row as f64 / 7.0 + channel as f64).sin() * (column as f64 / 9.0).cos())
    };
    let places = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
    places.flat_map(|(row, column)| (0..channels).map(move |c| value(row, column, c) as u8)).collect()
}

#[test]
fn png_gives_back_the_pixels_without_their_opacity() {
    for samples in 1..=4 {
        let pixels = pixels(5, 7, samples);
        let image = decode(&png(5, 7, samples, &pixels), LIMIT, any).unwrap();
        let channels = if samples < 3 { 1 } else { 3 };
        let expected: Vec<u8> =
            pixels.chunks(samples).flat_map(|pixel| &pixel[..channels]).copied().collect();
        assert_eq!((image.facts.stored, eight(image)), (header(5, 7, channels), expected));
    }
}

#[test]
fn jpeg_gives_back_the_pixels_up_to_its_quantisation() {
    for (height, width, channels) in [(8, 8, 1), (16, 24, 3), (13, 9, 1), (32, 32, 3), (1, 1, 3)] {
        let pixels = waves(height, width, channels);
        let image = decode(&jpeg(height, width, channels, &pixels, 1), LIMIT, any).unwrap();
        assert_eq!(image.facts.stored, header(height, width, channels));
        let far = eight(image).iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(far <= Some(4), "{height} × {width} × {channels}: {far:?}");
    }
}

/// Every build must decode the same bytes: a change of this digest changes the fingerprints of data sets.
#[test]
fn the_decoded_bytes_of_a_jpeg_are_pinned() {
    let image = decode(&jpeg(32, 32, 3, &pixels(32, 32, 3), 12), LIMIT, any).unwrap();
    let digest = lookbehind_common::digest::Digest::of(&eight(image)).to_string();
    assert_eq!(digest, "c5c3cfed7ab34bb633f6f37e9fc38c2d891da2db44faf1c5f222f4d08de697d5");
}

#[test]
fn sizes_are_known_from_the_header_alone() {
    let bytes = png(6, 4, 3, &pixels(6, 4, 3));
    assert_eq!(facts(&bytes, LIMIT).unwrap(), Facts::plain(header(6, 4, 3)));
    let refused = ImageProblem::Format(ForeignBytes::new(b""));
    let refuse = |_: &Facts| Err(ImageProblem::Format(ForeignBytes::new(b"")));
    assert_eq!(decode(&bytes, LIMIT, refuse), Err(refused));
}

#[test]
fn an_image_that_claims_more_than_it_may_is_refused_before_it_is_decoded() {
    let limit = 100;
    for bytes in [png(6, 6, 3, &pixels(6, 6, 3)), jpeg(6, 6, 3, &waves(6, 6, 3), 4)] {
        let problem = decode(&bytes, limit, any).unwrap_err();
        assert_eq!(problem, ImageProblem::TooLarge { width: 6, height: 6, limit });
    }
    // A PNG whose header claims 2³¹ − 1 rows and columns.
    let mut bomb = png(6, 6, 1, &pixels(6, 6, 1));
    bomb[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    assert!(decode(&bomb, u64::MAX, any).is_err());
}

#[test]
fn truncated_and_damaged_images_are_refused() {
    for bytes in [png(8, 8, 3, &pixels(8, 8, 3)), jpeg(8, 8, 3, &pixels(8, 8, 3), 2)] {
        assert!(decode(&bytes, LIMIT, any).is_ok());
        for cut in 0..bytes.len() - 2 {
            assert!(decode(&bytes[..cut], LIMIT, any).is_err(), "{cut} of {} bytes", bytes.len());
        }
    }
    let mut changed = png(8, 8, 3, &pixels(8, 8, 3));
    let middle = changed.len() / 2;
    changed[middle] ^= 0x55;
    assert!(decode(&changed, LIMIT, any).unwrap_err().to_string().starts_with("damaged PNG"));
    for (bytes, expected) in [
        (&b"%PDF-1.7"[..], "it begins with the bytes [25, 50, 44, 46]"),
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of git-lfs in the place of the file"),
        (b" \n<!DOCTYPE html><html>", "a web page in the place of the file"),
    ] {
        let problem = decode(bytes, LIMIT, any).unwrap_err().to_string();
        assert!(problem.starts_with(expected), "{problem}");
        assert!(problem.ends_with("expected an image in PNG, JPEG, WebP, GIF, BMP or TIFF"), "{problem}");
    }
}

#[test]
fn pixels_of_16_bits_keep_them() {
    let values = [0, 1026, 1045, 65_535, 257, 256];
    let image = decode(&png16(1, 6, 1, &values), LIMIT, any).unwrap();
    assert_eq!(image.facts.stored.depth, Depth::Sixteen);
    assert_eq!(image.pixels, Pixels::Sixteen(values.to_vec()));
    let image = decode(&png16(1, 2, 3, &values), LIMIT, any).unwrap();
    assert_eq!(image.pixels, Pixels::Sixteen(values.to_vec()));
}

#[test]
fn a_camera_says_how_to_turn_its_image() {
    let bytes = jpeg(8, 16, 1, &waves(8, 16, 1), 1);
    let upright = |bytes: &[u8]| facts(bytes, LIMIT).unwrap().upright();
    assert_eq!(upright(&bytes), header(8, 16, 1));
    assert_eq!(upright(&jpeg_with_exif(&bytes, 3)), header(8, 16, 1));
    assert_eq!(upright(&jpeg_with_exif(&bytes, 6)), header(16, 8, 1));
}
