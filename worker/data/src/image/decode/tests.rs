use lookbehind_data_fixtures::images::{jpeg, png};

use super::*;

const LIMIT: u64 = 1 << 20;

fn any(_: &Header) -> Result<(), ImageProblem> {
    Ok(())
}

fn decode(
    bytes: &[u8],
    limit: u64,
    accept: impl Fn(&Header) -> Result<(), ImageProblem>,
) -> Result<Image, ImageProblem> {
    super::decode(bytes, limit, accept).map(|(image, ())| image)
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
        assert_eq!((image.header, image.pixels), (Header { height: 5, width: 7, channels }, expected));
    }
}

#[test]
fn jpeg_gives_back_the_pixels_up_to_its_quantisation() {
    for (height, width, channels) in [(8, 8, 1), (16, 24, 3), (13, 9, 1), (32, 32, 3), (1, 1, 3)] {
        let pixels = waves(height, width, channels);
        let image = decode(&jpeg(height, width, channels, &pixels, 1), LIMIT, any).unwrap();
        assert_eq!(image.header, Header { height, width, channels });
        let far = image.pixels.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(far <= Some(4), "{height} × {width} × {channels}: {far:?}");
    }
}

/// Every build must decode the same bytes: a change of this digest changes the fingerprints of data sets.
#[test]
fn the_decoded_bytes_of_a_jpeg_are_pinned() {
    let image = decode(&jpeg(32, 32, 3, &pixels(32, 32, 3), 12), LIMIT, any).unwrap();
    let digest = lookbehind_common::digest::Digest::of(&image.pixels).to_string();
    assert_eq!(digest, "c5c3cfed7ab34bb633f6f37e9fc38c2d891da2db44faf1c5f222f4d08de697d5");
}

#[test]
fn sizes_are_known_from_the_header_alone() {
    let bytes = png(6, 4, 3, &pixels(6, 4, 3));
    assert_eq!(header(&bytes, LIMIT).unwrap(), Header { height: 6, width: 4, channels: 3 });
    let refused = ImageProblem::Format(Vec::new());
    let refuse = |_: &Header| Err(ImageProblem::Format(Vec::new()));
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
    assert_eq!(
        decode(b"GIF89a", LIMIT, any).unwrap_err().to_string(),
        "neither PNG nor JPEG: it begins with the bytes [47, 49, 46, 38]"
    );
    assert!(decode(b"", LIMIT, any).is_err());
}
