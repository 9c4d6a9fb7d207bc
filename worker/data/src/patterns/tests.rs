use std::fs;

use super::*;
use crate::test_support::data_folder;

fn names(given: &[&str]) -> Vec<String> {
    given.iter().map(|name| (*name).to_owned()).collect()
}

fn expand(files: &[&str], given: &[&str]) -> Result<Vec<String>, String> {
    let (folder, environment) = data_folder();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    expanded(&environment, &names(given), "data.train").map_err(|error| error.to_string())
}

#[test]
fn braces_are_numbers_of_so_many_digits_or_words_in_their_order() {
    for (given, expected) in [
        ("s-{008..011}.tar", &["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"][..]),
        ("s-{8..10}.tar", &["s-8.tar", "s-9.tar", "s-10.tar"]),
        ("{b,a}/{0..1}", &["b/0", "b/1", "a/0", "a/1"]),
        ("https://host/{00..01}.tar", &["https://host/00.tar", "https://host/01.tar"]),
        ("odd{name}.csv", &["odd{name}.csv"]),
        ("odd{", &["odd{"]),
    ] {
        assert_eq!(expand(&[], &[given]).unwrap(), expected, "{given}");
    }
    for given in ["{5..3}", "{0..99999999999}"] {
        assert!(
            expand(&[], &[given]).unwrap_err().contains("data.train: expected a rising range"),
            "{given}"
        );
    }
}

#[test]
fn wildcards_are_the_files_that_match_in_the_order_of_their_names() {
    let files = ["d/b.csv", "d/a.csv", "d/c.txt", "d/.h.csv", "e/z.csv", "d/x.csv/y"];
    assert_eq!(expand(&files, &["d/*.csv"]).unwrap(), ["d/a.csv", "d/b.csv"]);
    assert_eq!(expand(&files, &["*/?.csv"]).unwrap(), ["d/a.csv", "d/b.csv", "e/z.csv"]);
    let missing = expand(&files, &["*.parquet"]).unwrap_err();
    assert!(missing.contains("data file \"*.parquet\": not found"), "{missing}");
    let above = expand(&files, &["../*"]).unwrap_err();
    assert!(above.contains("data.train: expected a path inside the data folder"), "{above}");
}

#[test]
fn a_file_of_that_very_name_is_meant_itself() {
    assert_eq!(
        expand(&["{1..2}.csv", "a[1].csv"], &["{1..2}.csv", "a[1].csv"]).unwrap(),
        ["{1..2}.csv", "a[1].csv"]
    );
}

#[test]
fn absolute_paths_are_allowed_where_the_environment_says_so_alone() {
    let (folder, environment) = data_folder();
    let path = folder.path().join("a.csv");
    fs::write(&path, b"").unwrap();
    let given = names(&[path.to_str().unwrap(), &format!("{}/*.csv", folder.path().display())]);
    let refused = expanded(&environment, &given, "data.train").unwrap_err().to_string();
    assert!(refused.contains("expected a path inside the data folder"), "{refused}");
    let own = DataEnvironment { absolute_paths: true, ..environment };
    let found = expanded(&own, &given, "data.train").unwrap();
    assert_eq!(found, [path.to_str().unwrap(), path.to_str().unwrap()]);
}
