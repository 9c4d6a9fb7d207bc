use super::*;
use crate::exit::Exit;
use crate::fake_test::step;

const JOB_TEXT: &str = "name = \"a\"\n";

fn prepare(folder: &Path, job: &str, force: bool) -> Result<Output, CliError> {
    Output::prepare(folder, job, force, None)
}

/// A run with one outer step.
fn run(folder: &Path) {
    prepare(folder, JOB_TEXT, false).unwrap().step(&step(1)).unwrap();
    fs::write(folder.join(MODEL), b"weights").unwrap();
}

fn refused(folder: &Path, job: &str, reason: &str) {
    let before = names(folder).unwrap();
    let Err(error) = prepare(folder, job, false) else { panic!("not refused") };
    assert!(error.to_string().contains(reason), "{error}");
    assert_eq!(error.exit(), Exit::Output);
    assert_eq!(names(folder).unwrap(), before, "a refused folder was changed");
}

#[test]
fn a_new_folder_is_made_with_the_job_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a/b");
    prepare(&out, JOB_TEXT, false).unwrap();
    assert_eq!(names(&out).unwrap(), [JOB, METRICS, TENSORBOARD]);
    assert_eq!(fs::read_to_string(out.join(JOB)).unwrap(), JOB_TEXT);
}

#[test]
fn an_earlier_output_of_the_same_job_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    prepare(folder.path(), JOB_TEXT, false).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join(METRICS)).unwrap(), "");
    assert!(!folder.path().join(MODEL).exists());
    assert_eq!(fs::read_dir(folder.path().join(TENSORBOARD)).unwrap().count(), 1);
}

#[test]
fn files_of_the_users_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), b"years").unwrap();
    refused(folder.path(), JOB_TEXT, "holds \"thesis.tex\", which is no output of a job");
}

#[test]
fn the_output_of_another_job_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    refused(folder.path(), "name = \"b\"\n", "holds the output of another job");
}

#[test]
fn a_job_file_and_a_model_of_the_users_are_not_taken_for_an_output() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(JOB), JOB_TEXT).unwrap();
    fs::write(folder.path().join(MODEL), b"their initial weights").unwrap();
    refused(folder.path(), JOB_TEXT, "no metrics of an earlier run");
}

#[test]
fn force_replaces_files_of_the_same_names_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), b"years").unwrap();
    fs::write(folder.path().join(METRICS), b"old\n").unwrap();
    prepare(folder.path(), JOB_TEXT, true).unwrap();
    assert_eq!(fs::read(folder.path().join("thesis.tex")).unwrap(), b"years");
    assert_eq!(fs::read(folder.path().join(METRICS)).unwrap(), b"");
}

#[test]
fn initial_weights_are_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join(MODEL);
    fs::write(&init, b"weights").unwrap();
    let Err(error) = Output::prepare(folder.path(), JOB_TEXT, true, Some(&init)) else {
        panic!("not refused")
    };
    assert!(error.to_string().contains("is the job's model.init"), "{error}");
    assert_eq!(fs::read(init).unwrap(), b"weights");
}

#[test]
fn what_a_killed_process_left_half_written_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    fs::write(folder.path().join(format!("{SCRATCH}x1")), b"half").unwrap();
    prepare(folder.path(), JOB_TEXT, false).unwrap();
    assert_eq!(names(folder.path()).unwrap(), [JOB, METRICS, TENSORBOARD]);
}

#[test]
fn whole_files_are_readable_by_whom_the_system_lets() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ordinary"), b"").unwrap();
    prepare(folder.path(), JOB_TEXT, true).unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode(JOB), mode("ordinary"));
}
