//! Deletion of jobs, and databases of format 1.

use lookbehind_proto::v1;

use super::*;

#[test]
fn of_a_deleted_job_nothing_is_left_and_of_others_everything() {
    let root = folder();
    let opened = open(root.path());
    for job in [4, 5] {
        opened.store.put(&change(record(job), Some(notice(1)))).expect("a writable state");
        std::fs::create_dir_all(opened.store.job_folder(&record(job).id).join("checkpoints/step-0"))
            .expect("a folder");
    }
    opened.store.delete(&record(4).id).expect("a writable state");
    drop(opened);

    // The process ended before the files were removed: the next start knows that they are to be.
    let opened = open(root.path());
    assert_eq!(opened.removals, [record(4).id]);
    opened.store.remove_files(&record(4).id).expect("a writable state");
    assert!(!opened.store.job_folder(&record(4).id).exists());
    drop(opened);

    let opened = open(root.path());
    assert_eq!(opened.removals, []);
    assert_eq!(opened.stored.jobs, [StoredJob { record: record(5), spec: Some(vec![1, 2, 3]) }]);
    assert_eq!(opened.store.notices(&record(4).id, 0, 10).expect("a readable state"), []);
    assert_eq!(opened.store.notices(&record(5).id, 0, 10).expect("a readable state"), [notice(1)]);
    assert_eq!(opened.store.spec(&record(4).id).expect("a readable state"), None);
    assert!(opened.store.job_folder(&record(5).id).exists());
}

#[test]
fn the_notices_that_are_kept_of_a_job_are_limited() {
    let root = folder();
    let opened = open(root.path());
    let most = 10_000;
    let all = (1..=most + 5).map(notice).collect();
    let change = JobChange { notices: all, ..change(record(4), None) };
    opened.store.put(&change).expect("a writable state");
    let kept = opened.store.notices(&record(4).id, 0, usize::MAX).expect("a readable state");
    assert_eq!((kept.len() as u64, kept[0].revision), (most, 6), "the newest");
}

/// A record as format 1 had it.
fn old_record(job: u64, state: &str, spec: &[u8]) -> serde_json::Value {
    let serde_json::Value::Object(mut old) = serde_json::to_value(record(job)).expect("a record") else {
        panic!("a record is an object");
    };
    for added in ["spec_bytes", "spec_digest", "init"] {
        old.remove(added).expect("a field that format 1 did not have");
    }
    old.insert("spec".into(), spec.into());
    old.insert("state".into(), state.into());
    old.into()
}

/// Writes a database of format 1 with some records.
fn write_format_1(root: &Path, records: &[serde_json::Value]) {
    const JOBS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("jobs");
    const NOTICES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("notices");
    let database = Database::create(root.join(DATABASE)).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    {
        let mut meta = transaction.open_table(META).expect("the table");
        for (key, value) in [("format", "1"), ("cluster", "earlier"), ("incarnation", "41")] {
            meta.insert(key, value).expect("the entry");
        }
        let mut jobs = transaction.open_table(JOBS).expect("the table");
        let mut notices = transaction.open_table(NOTICES).expect("the table");
        for record in records {
            let id = record["id"].as_str().expect("an identity");
            jobs.insert(id, record.to_string().as_bytes()).expect("the entry");
            let notice = serde_json::to_vec(&notice(1)).expect("a notice");
            notices.insert((id, 1), notice.as_slice()).expect("the entry");
        }
    }
    transaction.commit().expect("the commit");
}

#[test]
fn a_database_of_format_1_is_converted_and_nothing_is_lost() {
    let root = folder();
    let init = Digest::of(b"weights");
    let model = v1::ModelSpec { init: Some(init.to_string()), ..Default::default() };
    let spec = v1::JobSpec { name: "with weights".into(), model: Some(model), ..Default::default() };
    let spec = spec.encode_to_vec();
    let broken = vec![0xff; 9];
    write_format_1(
        root.path(),
        &[old_record(4, "running", &spec), old_record(5, "failed", &spec), old_record(6, "queued", &broken)],
    );
    let check = |opened: Opened| {
        assert_eq!(opened.cluster.0, "earlier");
        let converted = |job: u64, state, spec: &[u8], init| JobRecord {
            state,
            spec_bytes: spec.len() as u64,
            spec_digest: Digest::of(spec),
            init,
            ..record(job)
        };
        let expected = [
            StoredJob {
                record: converted(4, JobState::Running, &spec, Some(init)),
                spec: Some(spec.clone()),
            },
            StoredJob { record: converted(5, JobState::Failed, &spec, Some(init)), spec: None },
            StoredJob { record: converted(6, JobState::Queued, &broken, None), spec: Some(broken.clone()) },
        ];
        assert_eq!(opened.stored.jobs, expected);
        assert_eq!(opened.store.spec(&record(5).id).expect("a readable state"), Some(spec.clone()));
        for job in [4, 5, 6] {
            assert_eq!(opened.store.notices(&record(job).id, 0, 9).expect("the notices"), [notice(1)]);
        }
        opened.incarnation
    };
    let first = check(open(root.path()));
    assert_eq!(first, Incarnation(49));
    assert_eq!(check(open(root.path())), Incarnation(57), "a second start finds the new format");
}

#[test]
fn a_damaged_record_of_format_1_is_named_and_the_database_is_left_as_it_is() {
    let root = folder();
    let mut damaged = old_record(5, "queued", &[]);
    damaged["number"] = "five".into();
    write_format_1(root.path(), &[old_record(4, "queued", &[]), damaged]);
    for _ in 0..2 {
        let error = Store::open(root.path(), ClusterId("other".into()), 0).expect_err("a damaged record");
        assert!(error.to_string().contains(record(5).id.as_str()), "{error}");
    }
}
