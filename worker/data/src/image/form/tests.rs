use super::*;

fn image(height: usize, width: usize, channels: usize, pixels: &[u8]) -> Image {
    Image { header: Header { height, width, channels }, pixels: pixels.to_vec() }
}

fn form(height: usize, width: usize, channels: usize) -> Form {
    Form { shape: Header { height, width, channels }, resizes: true }
}

#[test]
fn without_parameters_the_first_image_decides() {
    let first = Header { height: 4, width: 6, channels: 1 };
    let form = FormParameters::default().of_first(first);
    assert_eq!(form.shape, first);
    assert!(form.accept(&Header { channels: 3, ..first }).is_ok());
    let problem = form.accept(&Header { width: 5, ..first }).unwrap_err().to_string();
    assert!(problem.starts_with("5 × 4 pixels, expected 6 × 4"), "{problem}");
    let given = FormParameters { resize: Some([2, 3]), channels: Some(3) };
    assert_eq!(
        given.of_first(first),
        super::Form { shape: Header { height: 2, width: 3, channels: 3 }, resizes: true }
    );
}

#[test]
fn pixels_become_planes() {
    assert_eq!(form(1, 2, 3).bring(image(1, 2, 3, &[1, 2, 3, 4, 5, 6])), [1, 4, 2, 5, 3, 6]);
}

#[test]
fn grey_and_colour_become_each_other() {
    assert_eq!(form(1, 2, 3).bring(image(1, 2, 1, &[7, 9])), [7, 9, 7, 9, 7, 9]);
    let grey = form(1, 4, 1).bring(image(1, 4, 3, &[255, 0, 0, 0, 255, 0, 0, 0, 255, 90, 90, 90]));
    assert_eq!(grey, [76, 150, 29, 90]);
}

#[test]
fn resizing_interpolates_between_the_centres_of_pixels() {
    let rows = [0, 10, 20, 30];
    assert_eq!(form(1, 2, 1).bring(image(1, 4, 1, &rows)), [5, 25]);
    assert_eq!(form(1, 8, 1).bring(image(1, 4, 1, &rows)), [0, 3, 8, 13, 18, 23, 28, 30]);
    assert_eq!(form(2, 2, 1).bring(image(4, 1, 1, &rows)), [5, 5, 25, 25]);
    assert_eq!(form(3, 3, 1).bring(image(1, 1, 1, &[77])), [77; 9]);
    let bright = image(5, 3, 3, &[255; 45]);
    assert_eq!(form(7, 9, 3).bring(bright), [255; 189]);
}

#[test]
fn impossible_forms_are_refused_by_their_key() {
    for (parameters, key) in [
        (FormParameters { resize: None, channels: Some(2) }, "data.channels"),
        (FormParameters { resize: Some([0, 4]), channels: None }, "data.resize"),
        (FormParameters { resize: Some([4, 1 << 20]), channels: None }, "data.resize"),
    ] {
        assert!(parameters.check().unwrap_err().to_string().starts_with(key));
    }
    assert!(FormParameters { resize: Some([1, 8192]), channels: Some(1) }.check().is_ok());
}
