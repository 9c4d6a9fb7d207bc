use super::*;
use crate::job::parse_toml;

const JOB: &str = "name = \"small\" # a comment\n[model]\nkind = \"mlp\"\nhidden = [32]\n[data]\nkind = \"digits\"\n\
                   [train]\nepochs = 3\nbatch_size = 64\n[optimizer]\nk = 2\n";

fn changed(settings: &[&str]) -> Result<String, JobError> {
    let settings: Vec<Setting> = settings.iter().map(|text| text.parse().expect("a setting")).collect();
    apply_settings(JOB, &settings)
}

#[test]
fn settings_replace_add_and_remove_keys() {
    let text = changed(&[
        "name=other",
        "model.hidden=[8, 4]",
        "train.epochs=",
        "train.steps=7",
        "optimizer.base.lr=0.05",
        "data.shuffle=false",
        "schedule.kind=\"cosine\"",
    ]);
    let file = parse_toml(&text.expect("a job file")).expect("a valid job file");
    assert_eq!(file.name, "other");
    assert_eq!(file.model.parameters["hidden"], serde_json::json!([8, 4]));
    assert_eq!((file.train.epochs, file.train.steps, file.train.batch_size), (None, Some(7), 64));
    assert_eq!((file.optimizer.base.lr, file.data.shuffle), (Some(0.05), Some(false)));
    assert_eq!(file.schedule.kind, crate::job::file::ScheduleName::Cosine);
}

#[test]
fn a_job_file_without_settings_is_unchanged() {
    assert_eq!(changed(&[]).expect("a job file"), JOB);
}

#[test]
fn a_value_of_several_lines_sets_one_key() {
    let text = changed(&["name=1\nseed = 3"]).expect("a job file");
    let file = parse_toml(&text).expect("a valid job file");
    assert_eq!((file.name.as_str(), file.seed), ("1\nseed = 3", None));
}

#[test]
fn what_is_no_setting_is_refused() {
    for text in ["train.epochs", "=3", "train.=3", ".epochs=3", ""] {
        assert!(text.parse::<Setting>().is_err(), "{text:?}");
    }
    let error = changed(&["name.first=3"]).expect_err("a name has no parts");
    assert_eq!(error.to_string(), "name.first: name is not a section");
}
