use super::*;
use crate::args::Remote;
use crate::fake_test::{Fake, Out, Script};

fn asked(answer: &str) -> bool {
    let mut question = Vec::new();
    let confirmed = confirm(2, &mut answer.as_bytes(), &mut question).is_ok();
    let question = String::from_utf8(question).unwrap();
    assert!(question.contains("these jobs") && question.contains("[y/N]"), "{question}");
    confirmed
}

#[test]
fn only_a_yes_confirms() {
    for yes in ["y\n", "Y\n", "yes\n", " yes \r\n", "y"] {
        assert!(asked(yes), "{yes:?}");
    }
    for no in ["", "\n", "n\n", "no\n", "yess\n", "delete\n"] {
        assert!(!asked(no), "{no:?}");
    }
}

fn delete(fake: &Fake, yes: bool) -> (Result<(), CliError>, Vec<serde_json::Value>) {
    let remote = Remote { url: fake.url(), credentials: None };
    let args = Delete { ids: ["j00000000", "j00000001"].map(str::to_owned).to_vec(), yes, remote };
    let out = Out::default();
    let console = Console::to(true, out.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    (runtime.block_on(run(&args, &console)), out.lines())
}

#[test]
fn jobs_are_deleted_in_order_up_to_the_first_that_is_refused() {
    let fake = Fake::start(Script { deletable: 1, ..Script::default() });
    let (result, lines) = delete(&fake, true);
    assert_eq!(result.unwrap_err().to_string(), "delete: job j00000001: not found");
    assert_eq!(lines, [serde_json::json!({"deleted": "j00000000"})]);
}

#[test]
fn without_a_terminal_nothing_is_deleted_unless_told_so() {
    // Under a test runner on a terminal there is one to ask on.
    if io::stdin().is_terminal() {
        return;
    }
    let fake = Fake::start(Script { deletable: 2, ..Script::default() });
    let (result, lines) = delete(&fake, false);
    assert!(result.unwrap_err().to_string().contains("--yes"));
    assert!(lines.is_empty() && fake.heard(|script| script.deletable) == 2);
}
