use lookbehind_data_fixtures::images::{jpeg, jpeg_with_exif, png, png16};

use super::*;
use crate::SampleContext;
use crate::image::parameters::Resize;
use crate::image::stored::LABEL;
use crate::test_support::data_folder;

fn grey(value: u8) -> Vec<u8> {
    png(2, 2, 1, &[value, value, value, 255])
}

fn collect(files: &[Vec<u8>], form: FormParameters) -> Result<Box<dyn Dataset>, String> {
    let (_folder, environment) = data_folder();
    let images: Vec<_> = files.iter().map(|bytes| Encoded { bytes, label: 1 }).collect();
    let loaded = load(&Loading::new(&environment), form, None, |split, _, collector| {
        if split == Split::Test {
            return Ok(None);
        }
        collector.extend(split, &images, |place| format!("image {place}")).map_err(|rejected| {
            rejected.into_error(|place, problem| DataError::Content {
                split,
                problem: format!("image {place}: {problem}"),
            })
        })?;
        Ok(Some("files".to_owned()))
    });
    loaded.map_err(|error| error.to_string())
}

#[test]
fn images_stay_in_their_order_whatever_decodes_them() {
    let files: Vec<_> = (0..200).map(grey).collect();
    let data = collect(&files, FormParameters::default()).unwrap();
    let description = data.description();
    assert_eq!((description.train_samples, description.classes), (200, 2));
    assert_eq!(description.input_shape, [1, 2, 2]);
    let samples: Vec<u64> = (0..200).collect();
    let context = SampleContext { seed: 0, epoch: 0 };
    let batch = data.batch(Split::Train, &samples, context).unwrap();
    let inputs: Vec<f32> = batch.inputs;
    for (sample, input) in inputs.chunks(4).enumerate() {
        assert_eq!(input, [sample as f32 / 255.0, sample as f32 / 255.0, sample as f32 / 255.0, 1.0]);
    }
    for threads in [1, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let again = pool.install(|| collect(&files, FormParameters::default()).unwrap());
        assert_eq!(again.description(), description);
    }
}

#[test]
fn of_several_wrong_images_the_first_is_named() {
    let mut files: Vec<_> = (0..100).map(grey).collect();
    files[71] = b"nothing".to_vec();
    files[37].truncate(30);
    let error = collect(&files, FormParameters::default()).err().unwrap();
    assert!(error.contains("image 37: damaged PNG"), "{error}");
}

#[test]
fn images_of_another_size_need_to_be_resized() {
    let files = [grey(1), png(1, 3, 3, &[9; 9])];
    let error = collect(&files, FormParameters::default()).err().unwrap();
    assert!(error.contains("image 1: 3 × 1 pixels, expected 2 × 2"), "{error}");
    let form = FormParameters { resize: Some(Resize::To([4, 4])), channels: Some(3), ..Default::default() };
    assert_eq!(collect(&files, form).unwrap().description().input_shape, [3, 4, 4]);
}

#[test]
fn announced_images_that_do_not_fit_are_refused_at_the_first() {
    let (_folder, mut environment) = data_folder();
    environment.memory_limit = 100 * (4 + LABEL);
    let announce = |images: u64| {
        load(&Loading::new(&environment), FormParameters::default(), None, |split, _, collector| {
            collector.expect(images)?;
            let bytes = &grey(3);
            let added = collector.extend(split, &[Encoded { bytes, label: 0 }], |_| String::new());
            added.map_err(|rejected| rejected.into_error(|_, problem| panic!("{problem}")))?;
            Ok((split == Split::Train).then(|| "files".to_owned()))
        })
    };
    assert!(announce(99).is_ok());
    let error = announce(101).err().unwrap().to_string();
    assert_eq!(error, "the data set takes 808 bytes in memory, this worker's limit is 800");
    assert!(announce(u64::MAX).is_err());
}

#[test]
fn a_split_that_is_asked_for_has_samples() {
    let (_folder, environment) = data_folder();
    let refuse = |filled: Option<Split>| {
        let loaded =
            load(&Loading::new(&environment), FormParameters::default(), None, |split, _, collector| {
                if Some(split) == filled {
                    let added = collector.extend_raw(split, [1, 1, 2], &[1, 2], &[0]);
                    added.map_err(|rejected| rejected.into_error(|_, problem| panic!("{problem}")))?;
                }
                Ok(Some(format!("the files to {split}")))
            });
        loaded.err().unwrap().to_string()
    };
    let train = "training split: found 0 samples in the files to training, expected at least 1";
    assert_eq!(refuse(None), train);
    assert_eq!(refuse(Some(Split::Test)), train);
    let test = "test split: found 0 samples in the files to test, expected at least 1";
    assert_eq!(refuse(Some(Split::Train)), test);
}

fn values(data: &dyn Dataset, sample: u64) -> Vec<f32> {
    data.batch(Split::Train, &[sample], SampleContext { seed: 0, epoch: 0 }).unwrap().inputs
}

fn lines(data: &dyn Dataset) -> Vec<String> {
    data.report().findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_grey_image_among_coloured_ones_changes_nothing_for_the_others() {
    let colours = png(1, 2, 3, &[1, 2, 3, 4, 5, 6]);
    let grey = png(1, 2, 1, &[7, 8]);
    let form = FormParameters::default();
    for files in [[&grey, &colours, &colours], [&colours, &grey, &colours], [&colours, &colours, &grey]] {
        let data = collect(&files.map(Vec::clone), form).unwrap();
        assert_eq!(data.description().input_shape, [3, 1, 2]);
        for (sample, file) in files.into_iter().enumerate() {
            let expected: [u8; 6] = if *file == grey { [7, 8, 7, 8, 7, 8] } else { [1, 4, 2, 5, 3, 6] };
            assert_eq!(values(data.as_ref(), sample as u64), expected.map(|value| f32::from(value) / 255.0));
        }
        assert_eq!(
            lines(data.as_ref()),
            ["1 grey image got three equal channels, as other images have colours"]
        );
    }
    let many: Vec<_> =
        (0..3000).map(|place| if place < 2990 { grey.clone() } else { colours.clone() }).collect();
    let data = collect(&many, form).unwrap();
    assert_eq!(values(data.as_ref(), 2989), [7, 8, 7, 8, 7, 8].map(|value: u8| f32::from(value) / 255.0));
    assert_eq!(values(data.as_ref(), 2990), [1, 4, 2, 5, 3, 6].map(|value: u8| f32::from(value) / 255.0));
}

#[test]
fn images_of_16_bits_are_kept_exactly_beside_those_of_8() {
    let files = [png(1, 2, 1, &[0, 3]), png16(1, 2, 1, &[1026, 1045])];
    for files in [[&files[0], &files[1]], [&files[1], &files[0]]] {
        let data = collect(&files.map(Vec::clone), FormParameters::default()).unwrap();
        let narrow = u64::from(files[0].len() > files[1].len());
        assert_eq!(values(data.as_ref(), narrow), [0.0, 3.0 / 255.0]);
        assert_eq!(values(data.as_ref(), 1 - narrow), [1026.0 / 65_535.0, 1045.0 / 65_535.0]);
        assert_eq!(lines(data.as_ref()), ["1 image of 8 bits was brought to the 16 bits of other images"]);
    }
}

#[test]
fn widening_counts_against_the_memory_limit() {
    let (_folder, mut environment) = data_folder();
    environment.memory_limit = 100 * (4 + LABEL) + 20;
    let greys = vec![grey(1); 100];
    let colours = png(2, 2, 3, &[1; 12]);
    let loaded = load(&Loading::new(&environment), FormParameters::default(), None, |split, _, collector| {
        let mut extend = |files: &[&[u8]]| {
            let images: Vec<_> = files.iter().map(|bytes| Encoded { bytes, label: 0 }).collect();
            let added = collector.extend(split, &images, |_| String::new());
            added.map_err(|rejected| rejected.into_error(|_, problem| panic!("{problem}")))
        };
        extend(&greys.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        extend(&[&colours])?;
        Ok((split == Split::Train).then(|| "files".to_owned()))
    });
    assert!(matches!(loaded.err(), Some(DataError::Memory { needed: 1600, .. })));
}

#[test]
fn damaged_images_are_skipped_where_the_job_says_so() {
    let mut files: Vec<_> = (0..100).map(grey).collect();
    files[37].truncate(60);
    files[71] = b"nothing".to_vec();
    let error = collect(&files, FormParameters::default()).err().unwrap();
    assert!(error.contains("image 37: damaged PNG"), "{error}");
    let skip = FormParameters { on_damaged: OnDamaged::Skip, ..Default::default() };
    let data = collect(&files, skip).unwrap();
    assert_eq!(data.description().train_samples, 98);
    let firsts: Vec<u8> =
        (0..98).map(|sample| (values(data.as_ref(), sample)[0] * 255.0).round() as u8).collect();
    assert_eq!(firsts, (0..100).filter(|place| ![37, 71].contains(place)).collect::<Vec<u8>>());
    assert_eq!(
        lines(data.as_ref()),
        ["left out of the training split: 2 damaged images (image 37, image 71)"]
    );
    // What is in order and does not fit is the job's business.
    files[5] = png(1, 3, 3, &[9; 9]);
    assert!(collect(&files, skip).err().unwrap().contains("image 5: 3 × 1 pixels, expected 2 × 2"));
}

#[test]
fn images_are_turned_upright_unless_the_job_says_otherwise() {
    let bytes = jpeg_with_exif(&jpeg(8, 16, 1, &[[10; 64], [200; 64]].concat(), 1), 6);
    let data = collect(std::slice::from_ref(&bytes), FormParameters::default()).unwrap();
    assert_eq!(data.description().input_shape, [1, 16, 8]);
    assert_eq!(lines(data.as_ref()), ["1 image was turned upright as its EXIF data say"]);
    let as_stored = FormParameters { exif_orientation: false, ..Default::default() };
    let data = collect(&[bytes], as_stored).unwrap();
    assert_eq!(data.description().input_shape, [1, 8, 16]);
    let expected = "1 image was not turned upright as its EXIF data say: exif_orientation = false";
    assert_eq!(lines(data.as_ref()), [expected]);
}
