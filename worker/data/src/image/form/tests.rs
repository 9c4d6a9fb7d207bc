use super::*;
use crate::image::header::Depth;

fn stored(height: usize, width: usize, channels: usize) -> Header {
    Header { height, width, channels, depth: Depth::Eight }
}

fn image(height: usize, width: usize, channels: usize, pixels: &[u8]) -> Image {
    let facts = Facts::plain(stored(height, width, channels));
    Image { facts, pixels: Pixels::Eight(pixels.to_vec()) }
}

/// An image brought to the form that the parameters give it.
fn bring(image: Image, parameters: FormParameters) -> Vec<u8> {
    let form = Form::of(&image.facts, &parameters);
    form.accept(&image.facts).unwrap();
    form.bring(image)
}

fn resize(height: usize, width: usize) -> FormParameters {
    FormParameters { resize: Some(Resize::To([height, width])), ..Default::default() }
}

fn channels(channels: usize) -> FormParameters {
    FormParameters { channels: Some(channels), ..Default::default() }
}

#[test]
fn without_parameters_images_keep_their_form_and_need_one_size() {
    let first = Facts::plain(stored(4, 6, 1));
    let form = Form::of(&first, &FormParameters::default());
    assert_eq!(form.shape, first.stored);
    assert!(form.accept(&Facts::plain(stored(4, 6, 3))).is_ok());
    let problem = form.accept(&Facts::plain(stored(4, 5, 1))).unwrap_err().to_string();
    assert!(problem.starts_with("5 × 4 pixels, expected 6 × 4"), "{problem}");
    let given = FormParameters { channels: Some(3), ..resize(2, 3) };
    assert_eq!(Form::of(&first, &given).shape, stored(2, 3, 3));
}

#[test]
fn a_form_for_two_images_has_the_colours_and_the_depth_of_both() {
    let deep = Facts::plain(Header { depth: Depth::Sixteen, ..stored(2, 2, 1) });
    let coloured = Facts::plain(stored(2, 2, 3));
    let of = |facts: &Facts| Form::of(facts, &FormParameters::default());
    let both = of(&deep).with(of(&coloured));
    assert_eq!(both.shape, Header { depth: Depth::Sixteen, ..stored(2, 2, 3) });
    assert_eq!(of(&coloured).with(of(&deep)), both);
}

#[test]
fn pixels_become_planes() {
    assert_eq!(bring(image(1, 2, 3, &[1, 2, 3, 4, 5, 6]), channels(3)), [1, 4, 2, 5, 3, 6]);
}

#[test]
fn grey_and_colour_become_each_other() {
    assert_eq!(bring(image(1, 2, 1, &[7, 9]), channels(3)), [7, 9, 7, 9, 7, 9]);
    let grey = bring(image(1, 4, 3, &[255, 0, 0, 0, 255, 0, 0, 0, 255, 90, 90, 90]), channels(1));
    assert_eq!(grey, [76, 150, 29, 90]);
}

#[test]
fn the_centre_is_cut_out_after_resizing() {
    let crop = |height, width| FormParameters { center_crop: Some([height, width]), ..Default::default() };
    let pixels: Vec<u8> = (0..20).collect();
    assert_eq!(bring(image(4, 5, 1, &pixels), crop(2, 1)), [7, 12]);
    // Half a pixel goes to the even side, as torchvision's rounding does.
    assert_eq!(bring(image(4, 5, 1, &pixels), crop(1, 2)), [12, 13]);
    assert_eq!(bring(image(1, 4, 1, &[0, 1, 2, 3]), crop(1, 3)), [0, 1, 2]);
    let facts = Facts::plain(stored(4, 5, 1));
    let problem = Form::of(&facts, &crop(5, 5)).accept(&facts).unwrap_err().to_string();
    assert_eq!(problem, "5 × 4 pixels, of which center_crop = [5, 5] cannot be cut out");
}

#[test]
fn the_shorter_side_gets_a_length_and_the_other_one_follows() {
    let of = |height, width| Resize::Shorter(8).of(height, width);
    assert_eq!((of(16, 40), of(40, 16), of(9, 9), of(10, 15)), ([8, 20], [20, 8], [8, 8], [8, 12]));
    let shorter =
        FormParameters { resize: Some(Resize::Shorter(2)), center_crop: Some([2, 2]), ..Default::default() };
    let facts = Facts::plain(stored(4, 9, 3));
    assert_eq!(Form::of(&facts, &shorter).shape, stored(2, 2, 3));
}
