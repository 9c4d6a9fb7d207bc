use super::*;
use crate::fake_test::{notice, step};

/// Reads records like TensorBoard, and checks every checksum.
fn records(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at(8);
        let (length_sum, rest) = rest.split_at(4);
        let (message, rest) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let (message_sum, rest) = rest.split_at(4);
        for (part, sum) in [(length, length_sum), (message, message_sum)] {
            // The inverse of the mask: subtract the constant, rotate back.
            let masked = u32::from_le_bytes(sum.try_into().unwrap());
            assert_eq!(masked.wrapping_sub(0xa282_ead8).rotate_left(15), crc32c::crc32c(part));
        }
        events.push(Event::decode(message).unwrap());
        bytes = rest;
    }
    events
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    files[0].clone()
}

#[test]
fn records_hold_the_scalars_of_every_outer_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = TensorBoard::create(folder.path()).unwrap();
    board.step(&step(1)).unwrap();
    let test = v1::TestMetrics { loss: 0.0, accuracy: 0.75, samples: 8 };
    board.step(&v1::OuterStepMetrics { test: Some(test), ..step(2) }).unwrap();
    let events = records(&fs::read(only_file(folder.path())).unwrap());
    assert_eq!(events.len(), 3);
    assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
    let scalars = |event: &Event| -> Vec<(String, f32)> {
        let values = &event.summary.as_ref().unwrap().value;
        values.iter().map(|value| (value.tag.clone(), value.simple_value.unwrap())).collect()
    };
    assert_eq!((events[1].step, events[2].step), (1, 2));
    assert_eq!(scalars(&events[1]).len(), 5);
    let expected = [
        ("loss", 0.5),
        ("accuracy", 0.75),
        ("gradient_norm", 0.25),
        ("learning_rate", 0.1),
        ("alpha", 0.5),
        ("test/loss", 0.0),
        ("test/accuracy", 0.75),
    ];
    assert_eq!(scalars(&events[2]), expected.map(|(tag, value)| (tag.to_owned(), value as f32)));
}

#[test]
fn checksum_is_the_published_one() {
    // CRC-32C of "123456789" is e3069283 (RFC 3720 and catalogues of CRCs), masked by hand.
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    // 0xe3069283 rotated right by 15 is 0x2507c60d.
    assert_eq!(masked(b"123456789"), 0x2507_c60d_u32.wrapping_add(0xa282_ead8));
}

#[test]
fn steps_are_dated_by_the_job_and_not_by_the_watcher() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = TensorBoard::create(folder.path()).unwrap();
    let mut running = notice(1, v1::JobState::Running);
    running.at.get_or_insert_default().seconds = 1000;
    board.notice(&running);
    board.step(&step(1)).unwrap();
    board.step(&step(2)).unwrap();
    let events = records(&fs::read(only_file(folder.path())).unwrap());
    assert_eq!((events[1].wall_time, events[2].wall_time), (1001.0, 1002.0));
}

#[test]
fn only_files_of_ours_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    drop(TensorBoard::create(folder.path()).unwrap());
    let foreign = folder.path().join("events.out.tfevents.1.host");
    fs::write(&foreign, b"theirs").unwrap();
    remove_earlier(folder.path()).unwrap();
    assert_eq!(only_file(folder.path()), foreign);
    remove_earlier(&folder.path().join("missing")).unwrap();
}

#[test]
fn a_link_in_the_place_of_the_folder_is_not_followed() {
    let (folder, foreign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let event = foreign.path().join(format!("{PREFIX}0000000001{SUFFIX}"));
    fs::write(&event, b"theirs").unwrap();
    let path = folder.path().join("tensorboard");
    std::os::unix::fs::symlink(foreign.path(), &path).unwrap();
    assert!(remove_earlier(&path).is_err());
    assert!(TensorBoard::create(&path).is_err());
    assert_eq!(fs::read(only_file(foreign.path())).unwrap(), b"theirs");
}
