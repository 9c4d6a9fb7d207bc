use std::collections::BTreeMap;

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::model_state::ModelState;
use lookbehind_proto::transfer::{Piece, Sender};

use super::*;
use crate::exit::Exit;
use crate::fake_test::{Fake, Script};

/// A model file and the digest of its weights.
fn model() -> (Vec<u8>, Digest) {
    let spec =
        |name: &str, shape: &[usize], kind| TensorSpec { name: name.to_owned(), shape: shape.to_vec(), kind };
    let layout = Layout::new([
        spec("layers.0.weight", &[2, 3], TensorKind::Parameter),
        spec("bn.running_mean", &[2], TensorKind::RunningStatistic),
        spec("layers.0.bias", &[2], TensorKind::Parameter),
    ])
    .unwrap();
    let parameters: Vec<_> = (0..8).map(|n| n as f32).collect();
    let weights = ModelState { parameters, statistics: vec![-1.0, -2.0] }.map(FlatBuffer::from);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let class_names = model_file::list_text(&["ant".to_owned(), "a \"bee\"".to_owned()]);
    let data_report = model_file::list_text(&["3 training samples".to_owned()]);
    let metadata = BTreeMap::from([(model_file::CLASSES, class_names), (model_file::DATA, data_report)]);
    model_file::write(&path, &layout, &weights, &metadata).unwrap();
    (std::fs::read(path).unwrap(), weights_digest(&layout, &weights))
}

fn parts(bytes: &[u8], digest: &str) -> Vec<Part> {
    let header =
        v1::CheckpointHeader { length: bytes.len() as u64, outer_step: 7, digest: digest.to_owned() };
    let pieces = Sender::new([bytes.to_vec().into()], &[]).map(|piece| match piece {
        Piece::Chunk(chunk) => Part::Chunk(chunk),
        Piece::Trailer(trailer) => Part::Trailer(trailer),
    });
    std::iter::once(Part::Header(header)).chain(pieces).collect()
}

/// Downloads scripted parts; returns the folder and the result.
async fn download(parts: Vec<Part>) -> (tempfile::TempDir, Result<Model, CliError>) {
    let fake = Fake::start(Script { download: parts, ..Script::default() });
    let client = Client::connect(&fake.url()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let saved = match Download::open(&client, "j00000000", None).await {
        Ok(download) => download.save(&folder.path().join("model.safetensors")).await,
        Err(error) => Err(error),
    };
    (folder, saved)
}

#[tokio::test]
async fn a_whole_model_is_kept_as_it_came() {
    let (bytes, digest) = model();
    let (folder, saved) = download(parts(&bytes, &digest.to_string())).await;
    let path = folder.path().join("model.safetensors");
    assert_eq!(
        saved.unwrap(),
        Model {
            path: path.clone(),
            outer_step: 7,
            digest: digest.to_string(),
            class_names: vec!["ant".to_owned(), "a \"bee\"".to_owned()],
            data_report: vec!["3 training samples".to_owned()],
        }
    );
    assert_eq!(std::fs::read(path).unwrap(), bytes);
}

/// Asserts that the download fails with this message and leaves no file.
async fn refused(parts: Vec<Part>, expected: &str) {
    let (folder, saved) = download(parts).await;
    let error = saved.unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(error.exit(), Exit::Output);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
}

#[tokio::test]
async fn a_damaged_byte_is_noticed() {
    let (bytes, digest) = model();
    let mut parts = parts(&bytes, &digest.to_string());
    let Part::Chunk(chunk) = &mut parts[1] else { panic!("no chunk") };
    let mut data = chunk.data.to_vec();
    *data.last_mut().unwrap() ^= 1;
    chunk.data = data.into();
    refused(parts, "checksum").await;
}

#[tokio::test]
async fn other_weights_than_announced_are_noticed() {
    let (bytes, _) = model();
    refused(parts(&bytes, &"0".repeat(64)), "the coordinator announced 0000").await;
}

#[tokio::test]
async fn a_transfer_that_stops_short_is_noticed() {
    let (bytes, digest) = model();
    let mut parts = parts(&bytes, &digest.to_string());
    parts.pop();
    refused(parts, "expected a chunk or the trailer, found nothing").await;
}

#[tokio::test]
async fn a_file_that_is_no_model_is_noticed() {
    refused(parts(b"no tensors at all", &"0".repeat(64)), "model.safetensors: ").await;
}
