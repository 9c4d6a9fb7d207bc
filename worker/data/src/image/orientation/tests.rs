use lookbehind_data_fixtures::images::exif;

use super::*;

#[test]
fn the_eight_orientations_turn_an_image_upright() {
    // The upright image is 1 2 3 above 4 5 6; each stored form is what a camera writes with that value.
    let upright = [1, 2, 3, 4, 5, 6];
    for (value, size, stored) in [
        (1, [2, 3], [1, 2, 3, 4, 5, 6]),
        (2, [2, 3], [3, 2, 1, 6, 5, 4]),
        (3, [2, 3], [6, 5, 4, 3, 2, 1]),
        (4, [2, 3], [4, 5, 6, 1, 2, 3]),
        (5, [3, 2], [1, 4, 2, 5, 3, 6]),
        (6, [3, 2], [3, 6, 2, 5, 1, 4]),
        (7, [3, 2], [6, 3, 5, 2, 4, 1]),
        (8, [3, 2], [4, 1, 5, 2, 6, 3]),
    ] {
        let orientation = Orientation::of_exif(&exif(value));
        assert_eq!(orientation.swaps_sides(), value > 4);
        assert_eq!(orientation.turn(stored.to_vec(), size, 1), upright, "value {value}");
    }
}

#[test]
fn pixels_keep_their_channels_together() {
    let turned = Orientation::of_tag(3).turn(vec![1, 2, 3, 4, 5, 6], [1, 2], 3);
    assert_eq!(turned, [4, 5, 6, 1, 2, 3]);
}

#[test]
fn damaged_blocks_leave_an_image_as_it_is() {
    let whole = exif(6);
    for cut in 0..whole.len() - 6 {
        assert_eq!(Orientation::of_exif(&whole[..cut]), Orientation::default(), "{cut} bytes");
    }
    let mut far = whole.clone();
    far[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
    for bytes in [far, exif(0), exif(9), b"Exif\0\0XX".to_vec()] {
        assert_eq!(Orientation::of_exif(&bytes), Orientation::default());
    }
}
