use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use lookbehind_data_fixtures::images::png;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::test_support::{data_folder, parameters};
use crate::{DataEnvironment, Dataset, folder};

/// The members of an archive: paths and contents.
type Members = Vec<(String, Vec<u8>)>;

/// A data set of two classes with what else people's archives have.
fn images() -> Members {
    let grey = |value: u8| png(2, 2, 1, &[value; 4]);
    [
        ("set/train/cat/1.png", grey(10)),
        ("set/train/dog/3.png", grey(30)),
        ("set/train/cat/2.png", grey(20)),
        ("set/train/cat/notes.txt", b"a note".to_vec()),
        ("set/train/__MACOSX/x.png", grey(0)),
        ("set/test/dog/4.png", grey(40)),
        ("set/readme.md", b"# A set".to_vec()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

fn tar_of(members: &Members) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip archive, every second member of which is deflated; with the records of zip64 or without.
fn zip_of(members: &Members, is_64: bool) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    let short = |value: usize| (value as u16).to_le_bytes();
    let long = |value: usize| (value as u32).to_le_bytes();
    for (place, (name, bytes)) in members.iter().enumerate() {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        let (method, packed) =
            if place % 2 == 0 { (8, encoder.finish().unwrap()) } else { (0, bytes.clone()) };
        let mut checksum = flate2::Crc::new();
        checksum.update(bytes);
        let lengths =
            if is_64 { [u32::MAX.to_le_bytes(); 2] } else { [long(packed.len()), long(bytes.len())] };
        // Sizes beyond 4 GiB are in an extra field, the unpacked one first.
        let extra = match is_64 {
            false => Vec::new(),
            true => [
                &[1, 0, 16, 0][..],
                &(bytes.len() as u64).to_le_bytes(),
                &(packed.len() as u64).to_le_bytes(),
            ]
            .concat(),
        };
        let version = if is_64 { 45 } else { 20 };
        let common = [
            &short(version)[..],
            &short(1 << 11),
            &short(method),
            &[0; 4],
            &checksum.sum().to_le_bytes(),
            &lengths[0],
            &lengths[1],
            &short(name.len()),
            &short(extra.len()),
        ]
        .concat();
        let offset = archive.len();
        archive.extend([b"PK\x03\x04", &common[..], name.as_bytes(), &extra, &packed].concat());
        directory.extend([b"PK\x01\x02", &short(version)[..], &common, &[0; 10], &long(offset)].concat());
        directory.extend([name.as_bytes(), &extra].concat());
    }
    let (start, size) = (archive.len(), directory.len());
    archive.extend(directory);
    if is_64 {
        let wide = |value: usize| (value as u64).to_le_bytes();
        let record = archive.len();
        archive.extend([b"PK\x06\x06", &wide(44)[..], &short(45), &short(45), &[0; 8]].concat());
        archive.extend([wide(members.len()), wide(members.len()), wide(size), wide(start)].concat());
        archive.extend([b"PK\x06\x07", &[0; 4][..], &wide(record), &long(1)].concat());
    }
    let counted = if is_64 { [0xff; 2] } else { short(members.len()) };
    let [size, start] = if is_64 { [[0xff; 4]; 2] } else { [long(size), long(start)] };
    archive.extend([b"PK\x05\x06", &[0; 4][..], &counted, &counted, &size, &start, &[0; 2]].concat());
    archive
}

/// A header of tar with any name and type, with its checksum.
fn header(name: &[u8], kind: tar::EntryType, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_size(size);
    header.set_entry_type(kind);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn load(environment: &DataEnvironment, given: Value) -> Result<Box<dyn Dataset>, DataError> {
    folder(&parameters(given), environment)
}

fn with_file(bytes: &[u8]) -> (TempDir, DataEnvironment) {
    let (folder, environment) = data_folder();
    fs::write(folder.path().join("a"), bytes).unwrap();
    (folder, environment)
}

fn refused(bytes: &[u8]) -> String {
    let (_folder, environment) = with_file(bytes);
    load(&environment, json!({ "train": "a" })).map(drop).unwrap_err().to_string()
}

#[test]
fn an_archive_gives_the_same_samples_and_the_same_report_as_the_folder() {
    let (folder, environment) = data_folder();
    for (name, bytes) in images() {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let expected = load(&environment, json!({ "train": "set/train", "test": "set/test" })).unwrap().report();
    assert_eq!(expected.class_names, ["cat", "dog"]);
    let dotted = images().into_iter().map(|(name, bytes)| (format!("./{name}"), bytes)).collect();
    let windows = images().into_iter().map(|(name, bytes)| (name.replace('/', "\\"), bytes)).collect();
    let tar = tar_of(&images());
    for (name, bytes) in [
        ("a.tar", tar.clone()),
        ("a.tar.gz", gzip(&tar)),
        ("a.tar.zst", zstd::encode_all(tar.as_slice(), 1).unwrap()),
        ("dotted.tar", tar_of(&dotted)),
        ("a.zip", zip_of(&images(), false)),
        ("zip64.zip", zip_of(&images(), true)),
        ("windows.zip", zip_of(&windows, false)),
        ("no ending", tar),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
        let given = json!({ "train": format!("{name}/set/train/"), "test": format!("{name}/set/test") });
        let found = load(&environment, given).unwrap().report();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn long_names_of_gnu_and_pax_are_read() {
    let long = format!("{}/x.png", "c".repeat(200));
    let (_folder, environment) = with_file(&tar_of(&vec![(long, png(1, 1, 1, &[1]))]));
    assert_eq!(load(&environment, json!({ "train": "a" })).unwrap().report().class_names, ["c".repeat(200)]);
    let record = "23 path=pax/name/x.png\n";
    let image = png(1, 1, 1, &[1]);
    let mut bytes = header(b"PaxHeaders/x", tar::EntryType::XHeader, record.len() as u64);
    bytes.extend(record.bytes());
    bytes.resize(1024, 0);
    bytes.extend(header(b"short", tar::EntryType::Regular, image.len() as u64));
    bytes.extend(&image);
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    let (_folder, environment) = with_file(&bytes);
    let found = load(&environment, json!({ "train": "a", "nested": true })).unwrap().report();
    assert_eq!(found.class_names, ["pax"]);
}

#[test]
fn what_an_archive_may_not_have_is_refused_by_name() {
    use tar::EntryType;
    for (name, kind, expected) in [
        (
            &b"../up.png"[..],
            EntryType::Regular,
            "its member \"../up.png\" has a name that leads out of the archive",
        ),
        (b"a/../../up.png", EntryType::Regular, "leads out of the archive"),
        (b"/etc/passwd", EntryType::Regular, "its member \"/etc/passwd\" has an absolute name"),
        (b"C:/x.png", EntryType::Regular, "has an absolute name"),
        (b"cat/x.png", EntryType::Symlink, "its member \"cat/x.png\" is a link"),
        (b"cat/x.png", EntryType::Link, "is a link"),
        (b"cat/x.png", EntryType::Char, "is a device or pipe"),
        (b"cat/x.png", EntryType::GNUSparse, "is a sparse file"),
        (b"cat/\xff.png", EntryType::Regular, "has a name that is not UTF-8"),
    ] {
        for bytes in [header(name, kind, 0), gzip(&header(name, kind, 0))] {
            let error = refused(&bytes);
            assert!(error.starts_with("data file \"a\": ") && error.contains(expected), "{error}");
        }
    }
    let mut twice = images();
    twice.push(twice[0].clone());
    assert!(refused(&tar_of(&twice)).contains("\"set/train/cat/1.png\" is there more than once"));
    let error = refused(&tar_of(&images())[..540]);
    assert!(error.contains("truncated"), "{error}");
}

#[test]
fn zip_archives_that_cannot_be_read_say_why() {
    let whole = zip_of(&images(), false);
    let end = refused(&whole[..whole.len() - 30]);
    assert!(end.contains("it has no end: it was not downloaded or written completely"), "{end}");
    // The flag of encryption, in the directory.
    let directory = whole.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let mut encrypted = whole.clone();
    encrypted[directory + 8] |= 1;
    let error = refused(&encrypted);
    assert!(error.contains("its member \"set/train/cat/1.png\" is encrypted"), "{error}");
    let mut compressed = whole.clone();
    compressed[directory + 10] = 12;
    let error = refused(&compressed);
    assert!(error.contains("expected stored or deflated members"), "{error}");
    // Of a stored member, so that nothing but the checksum tells.
    let mut changed = whole.clone();
    let stored = whole.windows(3).position(|bytes| bytes == b"IDA").unwrap();
    changed[stored + 4] ^= 1;
    let (_folder, environment) = with_file(&changed);
    let given = json!({ "train": "a/set/train" });
    let error = load(&environment, given).map(drop).unwrap_err().to_string();
    assert!(error.contains("is damaged: its checksum is another one"), "{error}");
    let inner = vec![("all/one.zip".to_owned(), whole)];
    let error = refused(&zip_of(&inner, false));
    assert!(error.contains("none of its 1 files ends in"), "{error}");
    for (start, expected) in
        [(&b"7z\xbc\xaf\x27\x1c"[..], "a 7z archive"), (b"Rar!\x1a\x07", "a RAR archive")]
    {
        assert!(refused(start).contains(expected));
    }
}

/// Writes a little-endian number at a place that is counted from the end of an archive's last record.
fn with_number(archive: &[u8], place: usize, value: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    let start = archive.len() - 22 + place;
    archive[start..start + value.len()].copy_from_slice(value);
    archive
}

#[test]
fn a_zip_whose_directory_is_another_than_the_one_that_is_charged_is_refused() {
    let whole = zip_of(&images(), false);
    let size = u32::from_le_bytes(whole[whole.len() - 10..][..4].try_into().unwrap());
    let start = whole.len() as u32 - 22 - size;
    // A directory that is said to be short: at its place, or at the archive's end.
    let short = with_number(&whole, 12, &46_u32.to_le_bytes());
    let moved = with_number(&short, 16, &(start + size - 46).to_le_bytes());
    let fewer = with_number(&with_number(&whole, 8, &[1, 0]), 10, &[1, 0]);
    // Further records, behind which a library looks for earlier ones.
    let end =
        [b"PK\x05\x06", &[0; 4][..], &[1, 0, 1, 0], &46_u32.to_le_bytes(), &[0xee; 4], &[0; 2]].concat();
    let behind = [whole.as_slice(), &end].concat();
    let commented = with_number(&whole, 20, &[1, 0]);
    // Records of zip64 that nothing asks for, and one that is followed by more.
    let record = [b"PK\x06\x06", &44_u64.to_le_bytes()[..], &[45, 0, 45, 0], &[0; 40]].concat();
    let locator =
        [b"PK\x06\x07", &[0; 4][..], &(whole.len() as u64 - 22).to_le_bytes(), &[1, 0, 0, 0]].concat();
    let (before, last) = whole.split_at(whole.len() - 22);
    let unasked = [before, &record, &locator, last].concat();
    let wide = zip_of(&images(), true);
    let (before, last) = wide.split_at(wide.len() - 22 - 20);
    let more = [before, &[0; 64], last].concat();
    for (number, archive) in [short, moved, fewer, behind, commented, unasked, more].iter().enumerate() {
        let error = refused(archive);
        assert!(
            error.contains("zip") && error.contains("its end says") || error.contains("completely"),
            "{number}: {error}"
        );
    }
}

#[test]
fn a_name_that_is_in_a_zip_twice_is_refused() {
    // Two names of equal length, made the same afterwards.
    let members =
        vec![("c/1.png".to_owned(), png(1, 1, 1, &[1])), ("c/2.png".to_owned(), png(1, 1, 1, &[2]))];
    let mut bytes = zip_of(&members, false);
    while let Some(place) = bytes.windows(7).position(|name| name == b"c/2.png") {
        bytes[place + 2] = b'1';
    }
    let error = refused(&bytes);
    assert!(error.contains("a name is there more than once"), "{error}");
}

#[test]
fn what_unpacks_to_more_than_memory_is_refused_before_it_is_unpacked() {
    let bomb = vec![("c/x.png".to_owned(), vec![0; 40 << 20])];
    for bytes in [gzip(&tar_of(&bomb)), zip_of(&bomb, false)] {
        let (folder, mut environment) = with_file(&bytes);
        assert!(fs::metadata(folder.path().join("a")).unwrap().len() < 1 << 20);
        environment.memory_limit = 1 << 20;
        let error = load(&environment, json!({ "train": "a" })).map(drop).unwrap_err();
        assert!(matches!(error, DataError::Memory { .. }), "{error}");
    }
    // A length that is only claimed, and a name of a gigabyte.
    let claimed = [header(b"c/x.png", tar::EntryType::Regular, 1 << 32), vec![0; 1024]].concat();
    assert!(refused(&claimed).contains("truncated"), "{}", refused(&claimed));
    let name = [header(b"long", tar::EntryType::GNULongName, 1 << 30), vec![b'x'; 1 << 17]].concat();
    assert!(refused(&gzip(&name)).contains("longer than the 65536 bytes"), "{}", refused(&gzip(&name)));
}

#[test]
fn a_path_that_is_not_in_the_archive_is_answered_with_what_there_is() {
    let (_folder, environment) = with_file(&zip_of(&images(), false));
    let error =
        |train: &str| load(&environment, json!({ "train": train })).map(drop).unwrap_err().to_string();
    assert_eq!(
        error("a/train"),
        "data file \"a\": has no \"train\" in it; there are \"set/readme.md\", \"set/test\", \"set/train\""
    );
    // One folder at the top, which is no class.
    let top = error("a");
    assert!(top.contains("nested = true reads"), "{top}");
}

#[test]
fn a_table_in_an_archive_is_the_one_outside_with_its_images() {
    let pictures = |name: &str, value: u8| (name.to_owned(), png(2, 2, 1, &[value; 4]));
    let table = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
    let numbers = "a,b,label\n1,2,0\n3,4,1\n";
    let members = vec![
        table("set/numbers.csv", numbers),
        table("set/images.tsv", "path\tlabel\n1.png\t0\nmore/2.png\t1\n"),
        pictures("set/1.png", 7),
        pictures("set/more/2.png", 9),
        table("__MACOSX/set/numbers.csv", "not a table"),
    ];
    let one = vec![members[0].clone(), members[4].clone(), table("readme.txt", "about it")];
    let (outside, plain) = with_file(numbers.as_bytes());
    let expected = crate::csv(&parameters(json!({ "train": "a" })), &plain).unwrap();
    drop(outside);
    for pack in [
        |members: &Members| tar_of(members),
        |members: &Members| gzip(&tar_of(members)),
        |members: &Members| zip_of(members, false),
    ] {
        let (_folder, environment) = with_file(&pack(&members));
        let load = |given: Value| crate::csv(&parameters(given), &environment);
        let found = load(json!({ "train": "a/set/numbers.csv" })).unwrap();
        assert_eq!(found.description(), expected.description());
        let images = load(json!({ "train": "a/set/images.tsv", "image": "path" })).unwrap();
        assert_eq!(images.description().input_shape, [1, 2, 2]);
        let several = load(json!({ "train": "a" })).map(drop).unwrap_err().to_string();
        assert!(several.contains("2 tables") && several.contains("\"a/NAME\""), "{several}");
        let (_folder, environment) = with_file(&pack(&one));
        let only = crate::csv(&parameters(json!({ "train": "a" })), &environment).unwrap();
        assert_eq!(only.description(), expected.description());
    }
}
