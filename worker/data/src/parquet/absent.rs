use serde_json::json;

use super::*;
use crate::test_support::{data_folder, parameters};

#[test]
fn the_kind_is_refused_with_the_feature_that_reads_it_but_its_parameters_are_checked() {
    let (_folder, environment) = data_folder();
    let load = |given| parquet(&parameters(given), &environment).err().unwrap();
    let error = load(json!({ "train": "train.parquet" }));
    assert_eq!(
        error.to_string(),
        "data.kind: this build reads no Parquet files: build with --features parquet"
    );
    assert!(!error.is_fault_of_job(), "a worker that was built otherwise reads it");
    assert!(load(json!({ "train": "train.parquet", "classes": 0 })).is_fault_of_job());
}
