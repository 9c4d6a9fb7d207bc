use super::*;

fn bilinear(pixels: &[u8], from: [usize; 2], to: [usize; 2]) -> Vec<u8> {
    resized(pixels.to_vec(), from, to, 1, Interpolation::Bilinear)
}

/// The values that Pillow 13.0.0 gives.
#[test]
fn images_shrink_and_grow_as_in_pillow() {
    let ramp: Vec<u8> = (0..8).map(|value| value * 30).collect();
    assert_eq!(bilinear(&ramp, [1, 8], [1, 3]), [33, 105, 177]);
    assert_eq!(bilinear(&ramp, [8, 1], [3, 1]), [33, 105, 177]);
    assert_eq!(bilinear(&[0, 10, 20, 30], [1, 4], [1, 8]), [0, 3, 8, 13, 18, 23, 28, 30]);
    let cubic = resized(vec![0_u8, 255, 0, 255, 255], [1, 5], [1, 8], 1, Interpolation::Bicubic);
    assert_eq!(cubic, [0, 114, 252, 59, 51, 245, 255, 255]);
}

#[test]
fn every_source_pixel_counts() {
    let checkerboard: Vec<u8> =
        (0..72 * 72).map(|place| if (place / 72 + place % 72) % 2 == 0 { 255 } else { 0 }).collect();
    let small = bilinear(&checkerboard, [72, 72], [8, 8]);
    assert!(small.iter().all(|value| (126..=129).contains(value)), "{small:?}");
}

#[test]
fn equal_pixels_stay_equal() {
    for kernel in [Interpolation::Bilinear, Interpolation::Bicubic] {
        for to in [[7, 9], [2, 3], [1, 1]] {
            let bright = resized(vec![255_u8; 45], [5, 3], to, 3, kernel);
            assert_eq!(bright, vec![255; to[0] * to[1] * 3]);
            let deep = resized(vec![65_535_u16; 15], [5, 3], to, 1, kernel);
            assert_eq!(deep, vec![65_535; to[0] * to[1]]);
        }
    }
}

#[test]
fn sixteen_bits_are_resized_at_their_precision() {
    let deep = resized(vec![1000_u16, 1003], [1, 2], [1, 1], 1, Interpolation::Bilinear);
    assert_eq!(deep, [1002]);
}
