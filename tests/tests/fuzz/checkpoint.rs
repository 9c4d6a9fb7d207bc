//! Checkpoints in a folder of any content: a checkpoint is only accepted as it was written, and damage to one does not
//! affect others.
//!
//! An input is a sequence of changes to a folder with the checkpoints of steps 3 and 7.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::JobId;
use lookbehind_common::job::JobDescription;
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::OptimizerState;
use lookbehind_common::sampling::Position;
use lookbehind_common::selection::Selection;
use lookbehind_coordinator::store::checkpoint;
use lookbehind_coordinator::training::Snapshot;

use crate::tape::Tape;
use crate::{memory, scratch_folder};

const STEPS: [u64; 2] = [3, 7];
const FILES: [&str; 3] = ["manifest.json", "model.safetensors", "optimizer.safetensors"];
/// Names that a folder may get: other steps, and names that only resemble one.
const NAMES: [&str; 8] =
    ["step-9", "step-3", "step-7", "step-18446744073709551615", "step-", "step-+9", "step-07", ".step-9.tmp"];

fn description() -> JobDescription {
    let tensor = |name: &str, kind| TensorSpec { name: name.into(), shape: vec![2, 2], kind };
    let layout =
        Layout::new([tensor("weight", TensorKind::Parameter), tensor("mean", TensorKind::RunningStatistic)]);
    JobDescription {
        layout: layout.expect("a layout"),
        train_samples: 10,
        test_samples: 0,
        further_tests: lookbehind_common::test_set::FurtherTests::default(),
        data_fingerprint: Digest([7; 32]),
        class_names: Vec::new(),
        data_report: Vec::new(),
    }
}

fn snapshot(outer_step: u64) -> Snapshot {
    let flat_buffer = |value: f32| Arc::new(FlatBuffer::from(vec![value; 4]));
    Snapshot {
        job: JobId::from_entropy(9),
        description: Arc::new(description()),
        position: Position { outer_step, epoch: 1, batch: outer_step.saturating_sub(2) },
        state: OptimizerState {
            weights: ModelState { parameters: outer_step as f32, statistics: 0.25 }.map(flat_buffer),
            buffers: [("momentum".to_owned(), flat_buffer(-(outer_step as f32)))].into(),
            steps: 2 * outer_step,
        },
        class: None,
        keep: 2,
        selection: Selection::default(),
    }
}

/// The files of both checkpoints, by their paths within a job's folder.
static WRITTEN: LazyLock<BTreeMap<PathBuf, Vec<u8>>> = LazyLock::new(|| {
    let job = scratch_folder();
    let paths = STEPS.iter().flat_map(|step| {
        checkpoint::write(job.path(), &snapshot(*step)).expect("a writable folder");
        FILES.map(|file| PathBuf::from(format!("checkpoints/step-{step}/{file}")))
    });
    paths.map(|path| (path.clone(), std::fs::read(job.path().join(path)).expect("the file"))).collect()
});

/// A folder that still contains an undamaged checkpoint is accepted.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let job = scratch_folder();
    for (path, content) in WRITTEN.iter() {
        let path = job.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        std::fs::write(path, content).expect("a writable file");
    }
    let mut tape = Tape(bytes);
    while happen(job.path(), &mut tape).is_some() {}
    listed_ones_are_there(job.path());
    is_taken_right(job.path(), bytes.len())
}

/// Makes the next change to the folder; a change that is impossible is skipped.
fn happen(job: &Path, tape: &mut Tape<'_>) -> Option<()> {
    let kind = tape.byte()?;
    let path = file(job, tape.byte()?);
    let content = std::fs::read(&path).unwrap_or_default();
    let _ = match kind % 8 {
        0 => {
            let at = tape.number()? % (content.len() + 1);
            let with = tape.byte()?.into();
            let with = tape.take(with);
            let end = (at + with.len()).min(content.len());
            std::fs::write(&path, [&content[..at], with, &content[end..]].concat())
        }
        1 => std::fs::write(&path, &content[..tape.number()? % (content.len() + 1)]),
        2 => {
            let at = tape.number()? % content.len().max(1);
            let change = tape.byte()?;
            std::fs::write(
                &path,
                content
                    .iter()
                    .enumerate()
                    .map(|(i, b)| if i == at { b ^ change } else { *b })
                    .collect::<Vec<_>>(),
            )
        }
        3 => {
            let length = tape.number()?;
            std::fs::write(&path, tape.take(length))
        }
        4 => std::fs::copy(file(job, tape.byte()?), &path).map(drop),
        5 => {
            let folder = path.parent().expect("a folder");
            std::fs::rename(folder, folder.with_file_name(NAMES[usize::from(tape.byte()?) % NAMES.len()]))
        }
        6 => std::fs::remove_file(&path),
        _ => std::fs::remove_file(&path).and_then(|()| std::fs::create_dir(&path)),
    };
    Some(())
}

fn file(job: &Path, number: u8) -> PathBuf {
    let number = usize::from(number);
    job.join(format!("checkpoints/step-{}/{}", STEPS[number / 3 % 2], FILES[number % 3]))
}

fn listed_ones_are_there(job: &Path) {
    let listed = checkpoint::list(job).expect("a readable folder");
    assert!(listed.is_sorted_by(|a, b| a > b), "{listed:?} are not in order, or hold one twice");
    for step in listed {
        assert!(job.join(format!("checkpoints/step-{step}")).exists(), "step {step} is not there");
    }
}

fn is_taken_right(job: &Path, length: usize) -> bool {
    let is_whole = |step: &&u64| -> bool {
        FILES.iter().all(|file| {
            let path = PathBuf::from(format!("checkpoints/step-{step}/{file}"));
            std::fs::read(job.join(&path)).ok().as_ref() == WRITTEN.get(&path)
        })
    };
    let whole: Vec<_> = STEPS.iter().filter(is_whole).collect();
    let newest_whole = whole.last().copied();
    let limit = (1 << 18) + 100 * length;
    let found = memory::within(limit, || checkpoint::newest(job, &description()));
    assert!(whole.iter().all(is_whole), "looking for the newest one harmed another");
    match found {
        Ok((loaded, _)) => {
            let step = loaded.manifest.position.outer_step;
            assert!(Some(&step) >= newest_whole, "step {step} was taken, {newest_whole:?} is whole");
            let written = snapshot(step);
            assert_eq!((loaded.manifest.position, loaded.state), (written.position, written.state));
            let (manifest, _) =
                checkpoint::model_file_of(job, Some(step)).expect("the same").expect("the same");
            assert_eq!(manifest, loaded.manifest);
            let class = written.class.map(|class| class.probe);
            assert_eq!((manifest.job, manifest.class), (written.job, class));
            true
        }
        Err(error) => {
            assert_eq!(newest_whole, None, "a whole one was not taken: {error}");
            false
        }
    }
}
