use lookbehind_data_fixtures::images::png;

use super::*;
use crate::SampleContext;
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
        collector.extend(split, &images).map_err(|rejected| {
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
    let form = FormParameters { resize: Some([4, 4]), channels: Some(3) };
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
            let added = collector.extend(split, &[Encoded { bytes, label: 0 }]);
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
