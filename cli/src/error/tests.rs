use super::*;

#[test]
fn unreachable_coordinator_is_one_line_that_says_what_to_do() {
    let error = CliError::Unreachable {
        url: "http://127.0.0.1:7070".to_owned(),
        reason: "connection refused".to_owned(),
    };
    assert_eq!(
        error.to_string(),
        "cannot reach a coordinator at http://127.0.0.1:7070: connection refused; \
         start one with lookbehind-coordinator or use `lookbehind train`"
    );
    assert_eq!(error.exit(), Exit::Unreachable);
}

#[test]
fn job_error_names_file_and_key() {
    let source = JobError::new("train.batch_size", "expected 1 to 10, found 0");
    let error = CliError::Job { label: "jobs/a.toml".to_owned(), source };
    assert_eq!(error.to_string(), "jobs/a.toml: train.batch_size: expected 1 to 10, found 0");
    assert_eq!(error.exit(), Exit::Usage);
}

#[test]
fn a_message_from_the_coordinator_cannot_drive_the_terminal() {
    let error = CliError::JobEnded {
        id: "j00000000".to_owned(),
        state: "failed",
        message: "bad\u{1b}[2Jtensor\nerror: fake".to_owned(),
    };
    let text = error.to_string();
    assert!(!text.contains('\u{1b}') && !text.contains('\n'), "{text:?}");
    assert!(text.starts_with("job j00000000 failed: bad"), "{text}");
    assert_eq!(error.exit(), Exit::JobFailed);
}

#[test]
fn interruption_and_closed_output_have_the_shells_codes() {
    assert_eq!(CliError::Interrupted(String::new()).exit().code(), 128 + 2);
    assert_eq!(CliError::StdoutClosed.exit().code(), 128 + 13);
}
