use std::process::Command;

use super::*;

/// Set for the child process that may replace itself.
const MARK: &str = "LOOKBEHIND_TEST_FIXES_THREADS";

/// Runs the next test in a process of its own and returns the number of threads that it has in the end.
fn threads_of_child(given: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "threads::tests::a_marked_process_shows_its_threads", "--nocapture"]);
    command.env(MARK, "1").env_remove(THREADS_VARIABLE);
    if let Some(given) = given {
        command.env(THREADS_VARIABLE, given);
    }
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let (_, rest) = output.split_once("threads=").expect("the child shows its threads");
    rest.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_marked_process_shows_its_threads() {
    if std::env::var_os(MARK).is_some() {
        fix_number_of_threads();
        println!("threads={}", std::env::var(THREADS_VARIABLE).unwrap_or_default());
    }
}

#[test]
fn a_program_restarts_itself_with_as_many_threads_as_the_machine_offers() {
    assert_eq!(threads_of_child(None), available_parallelism().unwrap().to_string());
}

#[test]
fn a_number_of_threads_that_is_given_stays() {
    assert_eq!(threads_of_child(Some("3")), "3");
}
