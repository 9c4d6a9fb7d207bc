//! What people bring along: folders of named classes, and weights that other programs wrote.

use std::path::Path;

use lookbehind_data_fixtures::images::png;
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

/// A linear classifier of the images in `train`.
const JOB: &str = r#"
name = "brought"
[model]
kind = "mlp"
hidden = []
[data]
kind = "folder"
train = "train"
test = "train"
[train]
epochs = 2
batch_size = 4
shards = 2
[optimizer]
method = "sgd"
"#;

/// A folder with the job and three classes whose names are numbers, which are in the order of texts.
fn brought() -> TempDir {
    let folder = TempDir::with_prefix("lookbehind-brought-").unwrap();
    for (class, value) in [("1", 10_u8), ("2", 100), ("10", 200)] {
        let path = folder.path().join("train").join(class);
        std::fs::create_dir_all(&path).unwrap();
        for image in 0..4 {
            std::fs::write(path.join(format!("{image}.png")), png(2, 2, 1, &[value + image; 4])).unwrap();
        }
    }
    std::fs::write(folder.path().join("job.toml"), JOB).unwrap();
    folder
}

async fn train(folder: &Path, job: &str, workers: &str, out: &str) -> Process {
    let args = ["train", job, "--workers", workers, "--out", out];
    let mut train = Process::start(programs::lookbehind(), &args, folder, "train");
    train.exit().await;
    train
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_names_of_the_classes_and_the_data_report_go_with_the_model_whatever_number_of_workers() {
    let folder = brought();
    let read = |path: &str| std::fs::read(folder.path().join(path)).unwrap();
    std::fs::write(folder.path().join("train/1/Thumbs.db"), "").unwrap();
    let mut report = String::new();
    for (out, workers) in [("a", "1"), ("b", "2")] {
        let trained = train(folder.path(), "job.toml", workers, out).await;
        let summary = read(&format!("{out}/summary.json"));
        let summary: Value =
            serde_json::from_slice(&summary).unwrap_or_else(|_| panic!("{}", trained.stderr()));
        assert_eq!(summary["classes"], serde_json::json!(["1", "10", "2"]), "{summary}");
        let data = &summary["data"];
        assert!(data[0].as_str().unwrap().starts_with("12 training and "), "{summary}");
        assert!(
            data.as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains("Thumbs.db")),
            "{data}"
        );
        report = data.to_string();
    }
    let model = read("a/model.safetensors");
    assert!(model == read("b/model.safetensors"), "equal runs have equal files");
    let (_, header) = SafeTensors::read_metadata(&model).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!(metadata["classes"], r#"["1","10","2"]"#);
    assert_eq!(metadata["data"], report);

    // Such a file is one to start from.
    let job = JOB.replace("hidden = []", "hidden = []\ninit = \"a/model.safetensors\"");
    std::fs::write(folder.path().join("again.toml"), job).unwrap();
    let again = train(folder.path(), "again.toml", "1", "c").await;
    assert!(folder.path().join("c/model.safetensors").is_file(), "{}", again.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_under_a_prefix_say_which_key_takes_it_off_and_it_does() {
    let folder = brought();
    train(folder.path(), "job.toml", "1", "a").await;
    let model = std::fs::read(folder.path().join("a/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&model).unwrap();
    let renamed = tensors.iter().map(|(name, tensor)| (format!("module.{name}"), tensor));
    let renamed = safetensors::serialize(renamed, None).unwrap();
    std::fs::write(folder.path().join("w.safetensors"), renamed).unwrap();
    let with = |init: &str| JOB.replace("hidden = []", &format!("hidden = []\ninit = {init}"));
    std::fs::write(folder.path().join("p.toml"), with("\"w.safetensors\"")).unwrap();
    let refused = train(folder.path(), "p.toml", "1", "p").await;
    let said = refused.stderr();
    for expected in [
        "tensor \"layers.0.weight\": missing",
        "the file has \"module.layers.0.bias\", \"module.layers.0.weight\"",
        "strip_prefix = \"module.\"",
    ] {
        assert!(said.contains(expected), "expected {expected:?} in {said}");
    }
    let mended = with("{ file = \"w.safetensors\", strip_prefix = \"module.\" }");
    std::fs::write(folder.path().join("m.toml"), mended).unwrap();
    let trained = train(folder.path(), "m.toml", "1", "m").await;
    assert!(folder.path().join("m/model.safetensors").is_file(), "{}", trained.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absolute_path_and_a_mistake_in_it_are_told_plainly() {
    let folder = brought();
    let absolute = folder.path().join("train");
    let job = JOB.replace("\"train\"", &format!("{:?}", absolute.to_str().unwrap()));
    std::fs::write(folder.path().join("absolute.toml"), job).unwrap();
    let trained = train(folder.path(), "absolute.toml", "1", "a").await;
    assert!(folder.path().join("a/model.safetensors").is_file(), "{}", trained.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_fine_tuned_on_other_classes_to_the_same_bytes_for_any_number_of_workers() {
    let folder = brought();
    let read = |path: &str| std::fs::read(folder.path().join(path)).unwrap();
    let write = |path: &str, text: String| std::fs::write(folder.path().join(path), text).unwrap();
    write("base.toml", JOB.replace("hidden = []", "hidden = [5]"));
    train(folder.path(), "base.toml", "1", "base").await;
    let two = JOB.replace("test = \"train\"", "test = \"train\"\nclasses = [0, 2]");
    let with = |init: &str| two.replace("hidden = []", &format!("hidden = [5]\ninit = {{ {init} }}"));
    write("refused.toml", with("file = \"base/model.safetensors\""));
    let said = train(folder.path(), "refused.toml", "1", "refused").await.stderr();
    assert!(said.contains("expected shape [2, 5], found [3, 5]; fresh = [\"layers.1\"]"), "{said}");
    write("tuned.toml", with("file = \"base/model.safetensors\", fresh = [\"layers.1\"]"));
    for (workers, out) in [("1", "one"), ("2", "two"), ("4", "four")] {
        let trained = train(folder.path(), "tuned.toml", workers, out).await;
        assert!(folder.path().join(out).join("model.safetensors").is_file(), "{}", trained.stderr());
    }
    let model = read("one/model.safetensors");
    assert!(model == read("two/model.safetensors") && model == read("four/model.safetensors"));

    // The model goes on with its job in one file.
    let run = async |args: &[&str]| {
        let mut process = Process::start(programs::lookbehind(), args, folder.path(), "run");
        process.exit().await;
        process.stderr()
    };
    let exported = run(&["export", "one", "--data", ".", "--out", "alone.safetensors"]).await;
    assert!(folder.path().join("alone.safetensors").is_file(), "{exported}");
    let said = run(&["predict", "alone.safetensors", "--data", ".", "--out", "predictions.csv"]).await;
    assert!(folder.path().join("predictions.csv").is_file(), "{said}");
    let predictions = String::from_utf8(read("predictions.csv")).unwrap();
    assert!(predictions.starts_with("sample,file,label,class,probability,p_1,p_2\n"), "{predictions}");
}
