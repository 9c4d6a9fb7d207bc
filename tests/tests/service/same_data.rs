//! One data set in different formats: the same model, and workers that have it in different ones train together.

use std::fs;
use std::path::Path;

use lookbehind_data_fixtures::images::png;
use lookbehind_data_fixtures::table_file::{Table, Values};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::small_with;
use serde_json::{Value, json};

const NAMES: [&str; 2] = ["ant", "bee"];

/// Writes images as a folder, a table in CSV that names them, and Parquet.
fn write(root: &Path) {
    let (mut files, mut labels, mut table) = (Vec::new(), Vec::new(), "path,label\n".to_owned());
    for (class, name) in NAMES.into_iter().enumerate() {
        fs::create_dir_all(root.join("set").join(name)).unwrap();
        for number in 0..24 {
            let pixels: Vec<u8> = (0..16).map(|place| (place * (class + 3) * 7 + number * 5) as u8).collect();
            let bytes = png(4, 4, 1, &pixels);
            fs::write(root.join(format!("set/{name}/{number:02}.png")), &bytes).unwrap();
            table += &format!("{name}/{number:02}.png,{name}\n");
            files.push(Some(bytes));
            labels.push(Some(name));
        }
    }
    fs::write(root.join("set/table.csv"), table).unwrap();
    Table::new(vec![("image", Values::Files(files)), ("label", Values::Text(labels))])
        .write(&root.join("set.parquet"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_set_trains_to_the_same_digest_from_every_format() {
    let cluster = Cluster::of(1).await;
    write(cluster.data());
    let mut digests = Vec::new();
    for (kind, parameters) in [
        ("folder", json!({ "train": "set", "test": "set" })),
        ("csv", json!({ "train": "set/table.csv", "test": "set/table.csv", "image": "path" })),
        ("parquet", json!({ "train": "set.parquet", "test": ["set.parquet"] })),
    ] {
        let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
        let job = small_with(|job| {
            job.data.kind = kind.to_owned();
            job.data.parameters = parameters;
        });
        let history = cluster.client().run(&job).await;
        digests.push(history.digest().to_owned());
    }
    assert_eq!(digests[0], digests[1], "a folder and a table that names its files");
    assert_eq!(digests[0], digests[2], "a folder and Parquet");
}
