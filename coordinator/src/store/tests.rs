use std::sync::Arc;

use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::JobDescription;
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::OptimizerState;
use lookbehind_common::partial::Sums;
use lookbehind_common::sampling::Position;
use lookbehind_common::selection::{Criteria, Criterion, Selection};
use lookbehind_proto::v1::{OuterStepMetrics, TimeSplit};
use prost::Message as _;
use tempfile::TempDir;

use super::journal::{Journal, Reader};
use super::*;
use crate::state::{
    JobChange, JobRecord, JobState, Notice, NoticeKind, StoredJob, UnixMillis, UploadRecord,
    record_for_tests as record,
};
use crate::training::Snapshot;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn open(root: &Path) -> Opened {
    Store::open(root, ClusterId("fresh".into()), 7).expect("a usable state")
}

fn change(record: JobRecord, notice: Option<Notice>) -> JobChange {
    let spec = Some([1, 2, 3].as_slice().into());
    JobChange { record, spec, notices: notice.into_iter().collect() }
}

fn notice(revision: u64) -> Notice {
    Notice {
        revision,
        kind: NoticeKind::State,
        state: JobState::Queued,
        message: format!("notice {revision}"),
        outer_step: 0,
        total_outer_steps: 0,
        digest: None,
        at: UnixMillis(7),
    }
}

#[test]
fn identity_stays_and_incarnation_rises_with_each_start() {
    let root = folder();
    let first = open(root.path());
    assert_eq!((first.cluster.0.as_str(), first.incarnation), ("fresh", Incarnation(8)));
    drop(first);
    let second = Store::open(root.path(), ClusterId("other".into()), 0).expect("the same state");
    assert_eq!((second.cluster.0.as_str(), second.incarnation), ("fresh", Incarnation(9)));
}

#[test]
fn a_second_coordinator_on_the_same_state_is_refused() {
    let root = folder();
    let _first = open(root.path());
    let second = Store::open(root.path(), ClusterId("other".into()), 0);
    assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
}

#[test]
fn state_of_a_newer_format_is_refused() {
    let root = folder();
    let opened = open(root.path());
    let transaction = opened.store.begin_write().expect("a transaction");
    transaction.open_table(META).expect("the table").insert("format", "3").expect("the entry");
    transaction.commit().expect("the commit");
    drop(opened);
    let newer = Store::open(root.path(), ClusterId("other".into()), 0);
    assert!(matches!(newer, Err(StoreError::Newer { .. })), "{newer:?}");
}

#[test]
fn what_was_stored_is_there_after_a_restart() {
    let root = folder();
    let opened = open(root.path());
    for revision in 1..=3 {
        let record = JobRecord { revision, ..record(4) };
        let spec = if revision == 1 { change(record.clone(), None).spec } else { None };
        let change = JobChange { spec, ..change(record, Some(notice(revision))) };
        opened.store.put(&change).expect("a writable state");
    }
    let ended = JobRecord { state: JobState::Cancelled, ..record(5) };
    opened.store.put(&change(ended.clone(), None)).expect("a writable state");
    drop(opened);
    let opened = open(root.path());
    let queued = JobRecord { revision: 3, ..record(4) };
    let expected = [
        StoredJob { record: queued, spec: Some(vec![1, 2, 3]) },
        // A start does not read the specifications of jobs that have ended.
        StoredJob { record: ended, spec: None },
    ];
    assert_eq!(opened.stored.jobs, expected);
    assert_eq!(opened.store.spec(&record(5).id).expect("a readable state"), Some(vec![1, 2, 3]));
    let notices = opened.store.notices(&record(4).id, 1, 10).expect("the notices");
    assert_eq!(notices, [notice(2), notice(3)]);
    assert_eq!(opened.store.notices(&record(5).id, 0, 10).expect("no notices"), []);
}

fn step(outer_step: u64) -> OuterStepMetrics {
    let (loss, time) = (1.0 / outer_step as f64, Some(TimeSplit::default()));
    OuterStepMetrics { outer_step, loss, time, ..OuterStepMetrics::default() }
}

fn steps(job: &Path) -> Vec<u64> {
    let mut reader = Reader::new(journal::path(job));
    std::iter::from_fn(|| reader.next_step().expect("a readable journal"))
        .map(|step| step.outer_step)
        .collect()
}

#[test]
fn a_journal_is_cut_back_to_where_the_job_goes_on() {
    let job = folder();
    let (mut journal, _) = Journal::open(job.path(), 0).expect("a new journal");
    (1..=5).for_each(|number| journal.append(&step(number)).expect("a writable journal"));
    assert_eq!(steps(job.path()), [1, 2, 3, 4, 5]);
    let (mut journal, cut_off) = Journal::open(job.path(), 3).expect("the journal");
    assert_eq!(cut_off.keys().copied().collect::<Vec<_>>(), [4, 5], "what is to be done again is known");
    journal.append(&step(4)).expect("a writable journal");
    assert_eq!(steps(job.path()), [1, 2, 3, 4], "each step is recorded once");
}

#[test]
fn a_torn_or_damaged_record_ends_a_journal() {
    let job = folder();
    let (mut journal, _) = Journal::open(job.path(), 0).expect("a new journal");
    (1..=3).for_each(|number| journal.append(&step(number)).expect("a writable journal"));
    let path = journal::path(job.path());
    let whole = std::fs::read(&path).expect("the journal");
    std::fs::write(&path, &whole[..whole.len() - 1]).expect("a torn journal");
    assert_eq!(steps(job.path()), [1, 2]);
    let mut flipped = whole;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(&path, &flipped).expect("a damaged journal");
    assert_eq!(steps(job.path()), [1]);
    Journal::open(job.path(), 9).expect("the journal").0.append(&step(2)).expect("a writable journal");
    assert_eq!(steps(job.path()), [1, 2], "what follows replaces the damaged rest");
}

#[test]
fn a_record_that_cannot_be_read_or_has_no_times_ends_a_journal() {
    let job = folder();
    let mut journal = Journal::open(job.path(), 0).expect("a new journal").0;
    journal.append(&step(1)).expect("a writable journal");
    let path = journal::path(job.path());
    let good = std::fs::read(&path).expect("the journal");
    let timeless = OuterStepMetrics { time: None, ..step(2) };
    for bad in [vec![0xff; 3], timeless.encode_to_vec()] {
        let checksum = xxhash_rust::xxh3::xxh3_64(&bad).to_le_bytes();
        let head = [&(bad.len() as u32).to_le_bytes()[..], &checksum].concat();
        std::fs::write(&path, [&good[..], &head, &bad, &good].concat())
            .expect("a journal with another record");
        let mut reader = Reader::new(path.clone());
        let mut next = || reader.next_step().expect("a readable journal").map(|step| step.outer_step);
        assert_eq!([next(), next(), next()], [Some(1), None, None], "nothing behind it is reached");
    }
}

fn description() -> JobDescription {
    let tensor =
        TensorSpec { name: "layers.0.weight".into(), shape: vec![2, 3], kind: TensorKind::Parameter };
    JobDescription {
        layout: Layout::new([tensor]).expect("a layout"),
        train_samples: 10,
        test_samples: 0,
        further_tests: lookbehind_common::test_set::FurtherTests::default(),
        data_fingerprint: Digest([7; 32]),
        class_names: Vec::new(),
        data_report: Vec::new(),
    }
}

fn snapshot(outer_step: u64) -> Snapshot {
    let flat_buffer = |value: f32| Arc::new(FlatBuffer::from(vec![value; 6]));
    Snapshot {
        job: JobId::from_entropy(9),
        description: Arc::new(description()),
        position: Position { outer_step, epoch: 1, batch: 2 },
        state: OptimizerState {
            weights: ModelState { parameters: flat_buffer(outer_step as f32), ..ModelState::default() },
            buffers: [("momentum".to_owned(), flat_buffer(-1.5))].into(),
            steps: 2 * outer_step,
        },
        class: None,
        keep: 2,
        selection: Selection::default(),
    }
}

#[test]
fn a_checkpoint_is_read_back_as_it_was_written() {
    let job = folder();
    let digest = checkpoint::write(job.path(), &snapshot(3)).expect("a writable folder");
    let (loaded, skipped) = checkpoint::newest(job.path(), &description()).expect("the checkpoint");
    assert_eq!(loaded.state, snapshot(3).state);
    assert_eq!((loaded.manifest.position, loaded.manifest.digest), (snapshot(3).position, digest));
    assert!(skipped.is_empty());
}

#[test]
fn only_the_newest_checkpoints_are_kept() {
    let job = folder();
    for outer_step in [0, 2, 4, 10] {
        checkpoint::write(job.path(), &snapshot(outer_step)).expect("a writable folder");
    }
    assert_eq!(checkpoint::list(job.path()).expect("the folder"), [10, 4]);
}

#[test]
fn the_checkpoint_of_the_best_evaluation_is_kept_until_there_is_a_better_one() {
    let job = folder();
    let criteria = Criteria { keep_best: Some(Criterion::TestLoss), early_stopping: None };
    let mut selection = Selection::default();
    for (outer_step, loss) in
        [(0, 3.0), (2, 1.0), (4, 2.0), (6, 2.0), (8, 2.0), (10, 0.5), (12, 2.0), (14, 2.0)]
    {
        selection.note(&criteria, outer_step, |_| Some(Sums { loss, samples: 1, ..Sums::default() }));
        checkpoint::write(job.path(), &Snapshot { selection, ..snapshot(outer_step) })
            .expect("a writable folder");
        let kept = checkpoint::list(job.path()).expect("the folder");
        match outer_step {
            8 => assert_eq!(kept, [8, 6, 2]),
            14 => assert_eq!(kept, [14, 12, 10]),
            _ => {}
        }
    }
    let (loaded, _) = checkpoint::newest(job.path(), &description()).expect("the checkpoint");
    assert_eq!(loaded.manifest.selection, Some(selection));
}

#[test]
fn damaged_checkpoints_are_passed_over_and_written_again() {
    for file in ["model.safetensors", "optimizer.safetensors", "manifest.json"] {
        let job = folder();
        checkpoint::write(job.path(), &snapshot(1)).expect("a writable folder");
        checkpoint::write(job.path(), &snapshot(2)).expect("a writable folder");
        let path = job.path().join("checkpoints/step-2").join(file);
        let mut bytes = std::fs::read(&path).expect("the file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        std::fs::write(&path, bytes).expect("a damaged file");
        let (loaded, skipped) = checkpoint::newest(job.path(), &description()).expect("the one before");
        assert_eq!(loaded.manifest.position.outer_step, 1);
        assert!(skipped.len() == 1 && skipped[0].contains("step-2"), "{skipped:?}");
        checkpoint::write(job.path(), &snapshot(2)).expect("a writable folder");
        let (loaded, skipped) = checkpoint::newest(job.path(), &description()).expect("the new one");
        assert_eq!((loaded.manifest.position.outer_step, skipped), (2, Vec::new()), "{file}");
    }
}

#[test]
fn a_manifest_changed_in_any_byte_is_refused() {
    let job = folder();
    checkpoint::write(job.path(), &snapshot(1)).expect("a writable folder");
    let checkpoint = job.path().join("checkpoints/step-1");
    let files = ["manifest.json", "model.safetensors", "optimizer.safetensors"];
    let whole = files.map(|file| (file, std::fs::read(checkpoint.join(file)).expect("the file")));
    for index in 0..whole[0].1.len() {
        // Damaged checkpoints are renamed: create the folder again.
        std::fs::create_dir_all(&checkpoint).expect("a folder");
        for (file, bytes) in &whole {
            std::fs::write(checkpoint.join(file), bytes).expect("a whole file");
        }
        let mut bytes = whole[0].1.clone();
        bytes[index] ^= 1;
        std::fs::write(checkpoint.join("manifest.json"), bytes).expect("a changed manifest");
        // A change in the white space between values is not damage: the manifest must then read as before.
        if let Ok((loaded, _)) = checkpoint::newest(job.path(), &description()) {
            assert_eq!((loaded.manifest.position, loaded.state), (snapshot(1).position, snapshot(1).state));
        }
    }
}

#[test]
fn a_checkpoint_under_the_name_of_another_step_is_passed_over() {
    let job = folder();
    checkpoint::write(job.path(), &snapshot(1)).expect("a writable folder");
    checkpoint::write(job.path(), &snapshot(2)).expect("a writable folder");
    let folder = job.path().join("checkpoints");
    std::fs::rename(folder.join("step-2"), folder.join("step-9")).expect("a renamed folder");
    std::fs::create_dir(folder.join("step-01")).expect("a folder");
    assert_eq!(checkpoint::list(job.path()).expect("the folder"), [9, 1]);
    let (loaded, skipped) = checkpoint::newest(job.path(), &description()).expect("the one before");
    assert_eq!(loaded.manifest.position.outer_step, 1);
    assert!(skipped.len() == 1 && skipped[0].contains("is of outer step 2, expected 9"), "{skipped:?}");
}

#[test]
fn a_checkpoint_that_was_not_finished_does_not_count() {
    let job = folder();
    checkpoint::write(job.path(), &snapshot(1)).expect("a writable folder");
    let unfinished = job.path().join("checkpoints/.step-2.tmp");
    std::fs::create_dir(&unfinished).expect("a folder");
    std::fs::write(unfinished.join("model.safetensors"), b"half").expect("a file");
    let (loaded, _) = checkpoint::newest(job.path(), &description()).expect("the whole one");
    assert_eq!(loaded.manifest.position.outer_step, 1);
    checkpoint::write(job.path(), &snapshot(2)).expect("the leftovers do not disturb");
    assert_eq!(checkpoint::list(job.path()).expect("the folder"), [2, 1]);
}

#[test]
fn a_checkpoint_for_other_data_or_another_model_is_not_taken() {
    let job = folder();
    checkpoint::write(job.path(), &snapshot(1)).expect("a writable folder");
    let other = JobDescription { data_fingerprint: Digest([8; 32]), ..description() };
    let error = checkpoint::newest(job.path(), &other).expect_err("other data");
    assert!(error.to_string().contains("other data"), "{error}");
}

mod failures;
mod jobs;
mod uploads_kept;
