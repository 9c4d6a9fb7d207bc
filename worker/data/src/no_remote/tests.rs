use serde_json::json;

use super::*;
use crate::test_support::{data_folder, parameters};
use crate::{csv, idx};

const NEEDS: &str = "this build reads no URLs: build with --features remote";

#[test]
fn a_url_is_refused_with_its_key_and_the_feature_that_reads_it() {
    let (_folder, environment) = data_folder();
    let table = json!({ "train": "s3://bucket/train.csv" });
    let pair = json!({ "images": "https://host/images", "labels": "https://host/labels" });
    for (error, key) in [
        (csv(&parameters(table), &environment).err().unwrap(), "data.train"),
        (idx(&parameters(json!({ "train": pair })), &environment).err().unwrap(), "data.train.images"),
        (idx(&parameters(json!({ "folder": "gs://a/b" })), &environment).err().unwrap(), "data.folder"),
    ] {
        assert_eq!(error.to_string(), format!("{key}: {NEEDS}"));
        assert!(!error.is_fault_of_job(), "a worker that was built otherwise reads it");
    }
}

#[test]
fn a_prefix_that_is_to_be_allowed_is_refused_likewise() {
    assert_eq!("s3://bucket".parse::<UrlPrefix>().unwrap_err(), NEEDS);
}
