use serde_json::json;

use super::*;
use crate::test_support::{data_folder, parameters};
use crate::{SampleContext, Split};

fn image(data: &dyn Dataset, split: Split, sample: u64) -> (Vec<f32>, u32) {
    let context = SampleContext { seed: 0, epoch: 0 };
    let batch = data.batch(split, &[sample], context).unwrap();
    assert_eq!(batch.shape, [1, 8, 8]);
    (batch.inputs, batch.targets[0].class)
}

#[test]
fn every_fifth_image_is_for_testing_and_pixels_reach_from_0_to_1() {
    let (_folder, environment) = data_folder();
    let data = digits(&parameters(json!({})), &environment).unwrap();
    let description = data.description();
    assert_eq!((description.train_samples, description.test_samples), (1438, 359));
    assert_eq!((description.input_shape.as_slice(), description.classes), ([8, 8].as_slice(), 10));

    let file = SafeTensors::deserialize(FILE).unwrap();
    let (images, labels) = (bytes(&file, "images").unwrap(), bytes(&file, "labels").unwrap());
    let shipped = |index: usize| {
        let pixels = &images[index * 64..(index + 1) * 64];
        (pixels.iter().map(|&pixel| f32::from(pixel) / 16.0).collect::<Vec<_>>(), u32::from(labels[index]))
    };
    for (split, sample, index) in [
        (Split::Train, 0, 0),
        (Split::Train, 3, 3),
        (Split::Train, 4, 5),
        (Split::Test, 0, 4),
        (Split::Test, 358, 1794),
    ] {
        assert_eq!(image(data.as_ref(), split, sample), shipped(index));
    }
    assert_eq!(images.iter().max(), Some(&16));
}

#[test]
fn parameters_are_refused_by_name() {
    let (_folder, environment) = data_folder();
    let error = digits(&parameters(json!({ "train": "x" })), &environment).err().unwrap();
    assert!(error.is_fault_of_job());
    let text = error.to_string();
    assert!(text.contains("data") && text.contains("train"), "{text}");
}
