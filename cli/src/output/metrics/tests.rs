use super::*;
use crate::fake_test::step;

#[test]
fn a_line_has_every_field_of_the_protocol_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut file = MetricsFile::create(&path).unwrap();
    let test = lookbehind_proto::v1::TestMetrics { loss: 0.5, accuracy: 0.75, samples: 8 };
    file.append(&StepJson::from(&step(1))).unwrap();
    file.append(&StepJson::from(&lookbehind_proto::v1::OuterStepMetrics { test: Some(test), ..step(2) }))
        .unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1],
        "{\"outer_step\":2,\"epoch\":0,\"loss\":0.5,\"last_loss\":1.0,\"accuracy\":0.75,\"gradient_norm\":0.25,\
         \"learning_rate\":0.1,\"alpha\":0.5,\"samples\":100,\"gradients\":3,\"exchanged\":0,\
         \"test\":{\"loss\":0.5,\"accuracy\":0.75,\"samples\":8},\"digest\":\"digest-2\",\
         \"first_sample\":100,\"compute_class\":\"class\",\"workers\":2,\"time\":{\"total\":1.0,\
         \"compute\":0.5,\"communication\":0.25,\"optimizer\":0.125,\"waiting\":0.0625,\"data\":0.0625}}"
    );
    assert!(!lines[0].contains("\"test\""));
    assert!(text.ends_with('\n') && lines.len() == 2);
}

#[test]
fn numbers_survive_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let loss = 0.1 + 0.2;
    MetricsFile::create(&path).unwrap().append(&StepJson { loss, ..StepJson::from(&step(1)) }).unwrap();
    let value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(value["loss"].as_f64().unwrap().to_bits(), loss.to_bits());
}

#[test]
fn a_link_in_the_place_of_the_file_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, foreign) = (folder.path().join("metrics.jsonl"), folder.path().join("foreign"));
    std::fs::write(&foreign, b"theirs").unwrap();
    for target in [&foreign, &folder.path().join("nothing")] {
        std::os::unix::fs::symlink(target, &path).unwrap();
        let Err(error) = MetricsFile::create(&path) else { panic!("a link was followed") };
        assert!(matches!(error, CliError::Write { .. }), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(std::fs::read(&foreign).unwrap(), b"theirs");
    assert!(!folder.path().join("nothing").exists());
}
