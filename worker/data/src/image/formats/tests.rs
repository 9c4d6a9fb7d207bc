//! Files of all formats as Pillow 13.0.0 writes them, against the pixels that it reads from them
//! (`tests/python/make_images.py`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::image::decode::{ImageProblem, decode};
use crate::image::form::Form;
use crate::image::header::{Image, Pixels};
use crate::image::parameters::{FormParameters, Resize};
use crate::image::resize::Interpolation;

const LIMIT: u64 = 1 << 20;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/images")
}

fn image(bytes: &[u8]) -> Result<Image, ImageProblem> {
    decode(bytes, LIMIT, |_| Ok(())).map(|(image, ())| image)
}

/// The values of an image as a data set of it has them, in 16 bits, with this number of channels.
fn values(name: &str, channels: usize) -> Vec<u16> {
    let image =
        image(&fs::read(fixtures().join(name)).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let parameters = FormParameters { channels: Some(channels), ..Default::default() };
    let form = Form::of(&image.facts, &parameters);
    form.bring(image)
}

/// Levels of 8 bits by which two images differ at most.
fn difference(name: &str) -> u16 {
    let expected = format!("{name}.png");
    let channels = image(&fs::read(fixtures().join(&expected)).unwrap()).unwrap().facts.stored.channels;
    let (found, expected) = (values(name, channels), values(&expected, channels));
    assert_eq!(found.len(), expected.len(), "{name}");
    found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b).div_ceil(257)).max().unwrap()
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(fixtures()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|name| fixtures().join(format!("{name}.png")).exists()).collect();
    names.sort();
    names
}

#[test]
fn files_of_all_formats_have_the_pixels_that_pillow_reads() {
    let names = names();
    assert_eq!(names.len(), 33);
    for name in names {
        // JPEG leaves the last bits of its transform, and how colours are brought to the full size, to decoders.
        let most = if name.ends_with(".jpg") { 2 } else { 0 };
        let found = difference(&name);
        assert!(found <= most, "{name}: differs by {found} levels");
    }
}

#[test]
fn resized_images_are_those_of_pillow() {
    let source = fs::read(fixtures().join("colours.bmp")).unwrap();
    for (name, interpolation) in [("bilinear", Interpolation::Bilinear), ("bicubic", Interpolation::Bicubic)]
    {
        for size in [[8, 8], [22, 7], [9, 35], [50, 61], [1, 1], [13, 80]] {
            let image = image(&source).unwrap();
            let parameters =
                FormParameters { resize: Some(Resize::To(size)), interpolation, ..Default::default() };
            let resized: Vec<u16> = Form::of(&image.facts, &parameters).bring(image);
            let expected = values(&format!("resized/{name}_{}_{}.png", size[0], size[1]), 3);
            assert!(resized == expected, "{name} to {size:?}");
        }
    }
}

#[test]
fn sixteen_bits_of_a_tiff_are_kept() {
    let image = image(&fs::read(fixtures().join("deep.tif")).unwrap()).unwrap();
    let Pixels::Sixteen(values) = image.pixels else { panic!("values of 16 bits") };
    assert!(values.iter().any(|value| value % 257 != 0));
}

#[test]
fn files_that_are_cut_short_are_refused_or_whole() {
    for name in names() {
        let bytes = fs::read(fixtures().join(&name)).unwrap();
        for cut in (0..bytes.len()).step_by(1 + bytes.len() / 40) {
            let Ok(Image { facts, pixels: Pixels::Eight(pixels) }) = image(&bytes[..cut]) else { continue };
            assert_eq!(pixels.len(), facts.stored.size(), "{name}");
        }
    }
}

#[test]
fn a_file_that_claims_more_than_it_may_is_refused_before_it_is_decoded() {
    for name in names() {
        let bytes = fs::read(fixtures().join(&name)).unwrap();
        let refused = decode(&bytes, 100, |_| Ok::<_, ImageProblem>(())).unwrap_err();
        assert!(matches!(refused, ImageProblem::TooLarge { limit: 100, .. }), "{name}: {refused}");
    }
}

#[test]
fn kinds_that_are_not_read_are_said() {
    for (name, expected) in [
        ("palette.tif", "TIFF of a kind that is not read: Photometric interpretation RGBPalette"),
        ("two.bmp", "BMP of a kind that is not read: 1 bits of a pixel"),
    ] {
        let problem = image(&fs::read(fixtures().join(name)).unwrap()).unwrap_err().to_string();
        assert!(problem.starts_with(expected), "{problem}");
    }
}

#[test]
fn a_frame_that_is_larger_than_its_image_is_refused_before_it_is_decoded() {
    let lossy = fs::read(fixtures().join("lossy.webp")).unwrap();
    // In an extended file, whose image is 8 × 8 pixels: the frame has 35 × 22.
    let image_of_8 = [&b"VP8X"[..], &[10, 0, 0, 0], &[0; 4], &[7, 0, 0, 7, 0, 0]].concat();
    let content = [b"WEBP", image_of_8.as_slice(), &lossy[12..]].concat();
    let bytes = [b"RIFF", (content.len() as u32).to_le_bytes().as_slice(), &content].concat();
    let problem = image(&bytes).unwrap_err().to_string();
    assert_eq!(problem, "damaged WebP: a frame is larger than the image");
}

#[test]
fn a_jpeg_whose_pixels_are_all_there_needs_no_end() {
    for name in names().iter().filter(|name| name.ends_with(".jpg")) {
        let bytes = fs::read(fixtures().join(name)).unwrap();
        assert!(bytes.ends_with(&[0xff, 0xd9]), "{name}");
        let whole = image(&bytes).unwrap();
        for end in [&b""[..], b"\xff", b"\xff\xd9 and more", b"\0\0\xff\xd9"] {
            let other = [&bytes[..bytes.len() - 2], end].concat();
            let found = image(&other).unwrap_or_else(|error| panic!("{name} with the end {end:?}: {error}"));
            assert!(found == whole, "{name} with the end {end:?}");
        }
        let half = image(&bytes[..bytes.len() * 3 / 4]).unwrap_err().to_string();
        assert!(half.contains("truncated: pixels and the end are missing"), "{name}: {half}");
    }
}
