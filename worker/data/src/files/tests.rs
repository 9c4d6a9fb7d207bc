use super::*;

fn files(folder: Option<&str>, train: Option<u8>, test: Option<u8>) -> Result<Files<u8>, String> {
    Files::new(folder.map(str::to_owned), train, test).map_err(|error| error.to_string())
}

#[test]
fn a_folder_or_nothing_stands_for_the_usual_files() {
    assert_eq!(files(None, None, None), Ok(Files::In { folder: String::new() }));
    assert_eq!(files(Some("a"), None, None), Ok(Files::In { folder: "a".to_owned() }));
}

#[test]
fn files_that_are_named_are_all_that_there_are() {
    assert_eq!(files(None, Some(1), None), Ok(Files::Named { train: 1, test: None }));
    assert_eq!(files(None, Some(1), Some(2)), Ok(Files::Named { train: 1, test: Some(2) }));
    let error = files(None, None, Some(2)).unwrap_err();
    assert_eq!(error, "data.train: is required where data.test names its files");
}

#[test]
fn a_folder_together_with_named_files_is_refused() {
    for (train, test) in [(Some(1), None), (None, Some(2)), (Some(1), Some(2))] {
        let error = files(Some("a"), train, test).unwrap_err();
        assert!(error.starts_with("data.folder: has no meaning"), "{error}");
    }
}

#[test]
fn paths_begin_with_the_folder() {
    assert_eq!(in_folder("", "x.bin"), "x.bin");
    assert_eq!(in_folder("a/b/", "x.bin"), "a/b/x.bin");
    assert_eq!(in_folder("s3://bucket/a", "x.bin"), "s3://bucket/a/x.bin");
}
