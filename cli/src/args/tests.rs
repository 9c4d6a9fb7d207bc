use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn table_of_flags_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn train_needs_nothing_and_runs_two_workers() {
    let Command::Train(train) = parse("lookbehind train").unwrap().command else { panic!("not train") };
    assert_eq!((train.job, train.workers, train.out.out, train.state), (None, 2, None, None));
}

#[test]
fn workers_outside_their_range_are_refused() {
    assert!(parse("lookbehind train --workers 0").is_err());
    assert!(parse("lookbehind train --workers 65").is_err());
}

#[test]
fn json_may_stand_before_and_behind_the_command() {
    assert!(parse("lookbehind --json jobs").unwrap().general.json);
    assert!(parse("lookbehind jobs --json").unwrap().general.json);
}

#[test]
fn force_without_a_folder_is_refused() {
    assert!(parse("lookbehind train --force").is_err());
    assert!(parse("lookbehind train --force --out d").is_ok());
}

#[test]
fn fetch_needs_a_folder() {
    assert!(parse("lookbehind fetch j00000000").is_err());
    let Command::Fetch(fetch) = parse("lookbehind fetch j00000000 --step 3 --out d").unwrap().command else {
        panic!("not fetch")
    };
    assert_eq!(fetch.step, Some(3));
}

#[test]
fn an_identity_that_cannot_be_one_is_wrong_usage() {
    let error = parse("lookbehind cancel digits").unwrap_err();
    assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()));
    assert!(error.to_string().contains("'digits'"), "{error}");
}

#[test]
fn a_flag_names_the_coordinator() {
    let Command::Workers(remote) = parse("lookbehind workers --coordinator http://host:1").unwrap().command
    else {
        panic!("not workers")
    };
    assert_eq!(remote.url, "http://host:1");
}

#[test]
fn wrong_usage_ends_with_its_documented_code() {
    assert_eq!(parse("lookbehind nonsense").unwrap_err().exit_code(), i32::from(Exit::Usage.code()));
}

#[test]
fn help_documents_every_exit_code() {
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains(Exit::table().trim_end()), "{help}");
}

#[test]
fn every_command_and_flag_has_help() {
    for command in Cli::command().get_subcommands() {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
    }
}

#[test]
fn submit_takes_a_job_file_or_a_job_and_changes_of_keys() {
    assert!(parse("lookbehind submit").is_err());
    assert!(parse("lookbehind submit job.toml --from j00000000").is_err());
    assert!(parse("lookbehind submit job.toml --set train.epochs").is_err());
    let line = "lookbehind submit --from j00000000 --set seed=3 --set train.epochs=40";
    let Command::Submit(submit) = parse(line).unwrap().command else { panic!("not submit") };
    assert_eq!((submit.job, submit.from.as_deref(), submit.settings.set.len()), (None, Some("j00000000"), 2));
}

#[test]
fn continue_takes_one_length() {
    assert!(parse("lookbehind continue j00000000").is_err());
    assert!(parse("lookbehind continue j00000000 --epochs 4 --steps 9").is_err());
    assert!(parse("lookbehind continue j00000000 --steps 9").is_ok());
}

#[test]
fn delete_takes_several_jobs_and_at_least_one() {
    assert!(parse("lookbehind delete").is_err());
    let Command::Delete(delete) = parse("lookbehind delete j00000000 j00000001 --yes").unwrap().command
    else {
        panic!("not delete")
    };
    assert_eq!((delete.ids.len(), delete.yes), (2, true));
}

#[test]
fn jobs_are_chosen_by_state_owner_name_and_labels() {
    let line = "lookbehind jobs --state queued --state running --owner alice --name lr=0.1 --label study=a=b --label seed";
    let Command::Jobs(jobs) = parse(line).unwrap().command else { panic!("not jobs") };
    assert_eq!(jobs.states, ["queued", "running"]);
    assert_eq!((jobs.owner.as_deref(), jobs.name.as_deref()), (Some("alice"), Some("lr=0.1")));
    let labels = [("study", "a=b"), ("seed", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(jobs.labels, labels);
    let unknown = parse("lookbehind jobs --state runing").unwrap_err().to_string();
    assert!(unknown.contains("preparing") && unknown.contains("running"), "{unknown}");
    assert!(parse("lookbehind jobs --all --limit 3").is_err());
    assert!(parse("lookbehind submit job.toml --label study").is_err());
}
