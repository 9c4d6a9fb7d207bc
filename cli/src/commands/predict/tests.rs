use std::fs;
use std::sync::Arc;

use clap::Parser;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::parse_toml;
use lookbehind_common::model_file;
use lookbehind_worker::compute::CandleBackend;
use lookbehind_worker::data::DataEnvironment;
use lookbehind_worker::evaluate::Evaluation;
use tempfile::TempDir;

use super::*;
use crate::args::{Cli, Command};
use crate::exit::Exit;

const TABLE: &str = "kind = \"csv\"\ntrain = \"train.csv\"\none_hot = [\"colour\"]\nlabel = \"kind\"";
const IMAGES: &str = "kind = \"folder\"\ntrain = \"train\"\nresize = [6, 6]\nchannels = 3";

/// A folder with a job on these data and a model of it.
fn model(data: &str, prepare: impl FnOnce(&Path)) -> TempDir {
    let folder = TempDir::new().unwrap();
    prepare(folder.path());
    let job = format!(
        "name = \"tiny\"\n[model]\nkind = \"mlp\"\nhidden = [4]\n[data]\n{data}\n[train]\nsteps = 1\nbatch_size = 2\n\
         [optimizer]\nmethod = \"sgd\"\n"
    );
    fs::write(folder.path().join("job.toml"), &job).unwrap();
    let environment = DataEnvironment::local(folder.path().to_owned(), 1 << 30);
    let backend = Arc::new(CandleBackend::new(Registry::builtin(), environment));
    let evaluation = Evaluation::load(backend, &parse_toml(&job).unwrap().validate().unwrap()).unwrap();
    let values = |length: usize| -> FlatBuffer {
        (0..length).map(|place| ((place * 7 % 11) as f32 - 5.0) / 5.0).collect::<Vec<_>>().into()
    };
    let weights = evaluation.layout().lengths().map(values);
    model_file::write(
        &folder.path().join("model.safetensors"),
        evaluation.layout(),
        &weights,
        &Default::default(),
    )
    .unwrap();
    folder
}

fn table(folder: &Path) {
    let rows = "size,colour,kind\n1.5,red,cat\n-0.5,blue,dog\n2.5,green,owl\n0.25,red,dog\n";
    fs::write(folder.join("train.csv"), rows).unwrap();
}

/// Copies of images of the tests as two classes.
fn images(folder: &Path) {
    for (class, image) in [("cats", "grey.jpg.png"), ("dogs", "colours.bmp.png")] {
        fs::create_dir_all(folder.join("train").join(class)).unwrap();
        fs::copy(image_file(image), folder.join("train").join(class).join(image)).unwrap();
    }
}

fn image_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/images").join(name)
}

/// Runs the command with its output in a table; the rows, the heading first.
fn predict(folder: &TempDir, arguments: &[&str]) -> Result<Vec<Vec<String>>, CliError> {
    let out = folder.path().join("out.csv");
    let (model, out_text) = (folder.path().display().to_string(), out.display().to_string());
    let line = ["lookbehind", "predict", &model, "--force", "--out", &out_text];
    let cli = Cli::try_parse_from(line.iter().chain(arguments))
        .map_err(|error| CliError::Usage(error.to_string()))?;
    let Command::Predict(args) = cli.command else { panic!("not predict") };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run(&args, &Console::to(true, std::io::sink()), Registry::builtin()))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(&out).unwrap();
    Ok(reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect())
}

#[test]
fn rows_without_labels_are_predicted_as_those_with() {
    let folder = model(TABLE, table);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let labelled = write("labelled.csv", "size,colour,kind\n1.0,green,owl\n0.5,red,cat\n");
    let unlabelled = write("new.csv", "colour,size\ngreen,1.0\nred,0.5\n");
    let (with, without) =
        (predict(&folder, &[&labelled]).unwrap(), predict(&folder, &[&unlabelled]).unwrap());
    assert_eq!(with[0], ["sample", "file", "label", "class", "probability", "p_cat", "p_dog", "p_owl"]);
    assert_eq!((with[1][2].as_str(), with[2][2].as_str()), ("owl", "cat"));
    assert_eq!((without[1][2].as_str(), without.len()), ("", 3));
    for (with, without) in with[1..].iter().zip(&without[1..]) {
        assert_eq!(with[3..], without[3..]);
        assert!(["cat", "dog", "owl"].contains(&with[3].as_str()));
    }
}

#[test]
fn rows_that_the_job_cannot_read_are_refused() {
    let folder = model(TABLE, table);
    let refused = |text: &str| {
        let path = folder.path().join("new.csv");
        fs::write(&path, text).unwrap();
        predict(&folder, &[path.to_str().unwrap()]).unwrap_err().to_string()
    };
    assert!(refused("colour,size\nviolet,1.0\n").contains("violet"));
    assert!(refused("colour\nred\n").contains("\"size\""));
    assert!(refused("size,colour,kind\n1.0,red,bird\n").contains("bird"));
}

#[test]
fn images_are_called_by_their_files_and_get_the_form_of_the_training_images() {
    let folder = model(IMAGES, images);
    // A grey image and one with colours, outside the data folder.
    let (grey, colours) = (image_file("grey.jpg.png"), image_file("colours.bmp.png"));
    let rows = predict(&folder, &[grey.to_str().unwrap(), colours.to_str().unwrap()]).unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1][1], grey.display().to_string());
    assert_eq!(rows[0][5..], ["p_cats", "p_dogs"]);
    // They are the training images as well, which have the same pixels.
    let own = predict(&folder, &["--split", "train"]).unwrap();
    assert_eq!((rows[1][3..].to_vec(), rows[2][3..].to_vec()), (own[1][3..].to_vec(), own[2][3..].to_vec()));
    assert_eq!((own[1][2].as_str(), own[2][2].as_str()), ("cats", "dogs"));
}

#[test]
fn data_that_read_no_new_samples_say_so() {
    let folder = model("kind = \"digits\"", |_| {});
    let image = image_file("grey.jpg.png");
    let error = predict(&folder, &[image.to_str().unwrap()]).unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("\"digits\" reads no new samples"), "{error}");
    assert_eq!(predict(&folder, &[]).unwrap().len(), 360);
    let missing = predict(&folder, &["nowhere.png"]).unwrap_err();
    assert!(missing.to_string().starts_with("nowhere.png: cannot be read"), "{missing}");
}
