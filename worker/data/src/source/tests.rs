use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::test_support::data_folder;

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_file_is_read_the_same_plain_or_compressed() {
    let (folder, environment) = data_folder();
    let text: Vec<u8> = (0..100_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    let parts = [gzip(&text[..7]), gzip(&text[7..])].concat();
    for bytes in [text.clone(), gzip(&text), parts, zstandard(&text)] {
        fs::write(folder.path().join("file"), bytes).unwrap();
        let source = Source::find(&environment, "file", "data.train").unwrap();
        let mut found = vec![0; text.len() + 1];
        let mut reader = source.reader(&Loading::new(&environment)).unwrap();
        assert_eq!(source.fill(reader.as_mut(), &mut found).unwrap(), text.len());
        assert_eq!(found[..text.len()], text);
    }
}

#[test]
fn a_truncated_or_damaged_archive_is_refused_by_name() {
    let (folder, environment) = data_folder();
    let text = vec![7; 100_000];
    for whole in [gzip(&text), zstandard(&text)] {
        let mut damaged = whole.clone(); // In the checksum or the length.
        let last = damaged.len() - 2;
        damaged[last] ^= 1;
        for bytes in [whole[..whole.len() - 3].to_vec(), whole[..12].to_vec(), damaged] {
            fs::write(folder.path().join("file"), bytes).unwrap();
            let source = Source::find(&environment, "file", "data.train").unwrap();
            let mut found = vec![0; text.len() + 1];
            let read = source
                .reader(&Loading::new(&environment))
                .and_then(|mut reader| source.fill(reader.as_mut(), &mut found));
            let error = read.unwrap_err().to_string();
            assert!(error.starts_with("data file \"file\": cannot be read: "), "{error}");
        }
    }
}

#[test]
fn a_file_is_read_whole_in_the_memory_of_its_length() {
    let (folder, environment) = data_folder();
    fs::write(folder.path().join("file"), [1; 100]).unwrap();
    let source = Source::find(&environment, "file", "data.train").unwrap();
    let content = source.content(&Loading::new(&environment)).unwrap();
    assert_eq!((content.bytes.capacity(), content.as_ref()), (100, &[1; 100][..]));
}

#[test]
fn the_window_of_a_zstandard_file_is_charged() {
    let (folder, mut environment) = data_folder();
    environment.memory_limit = 1 << 20;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&[7; 1000]).unwrap();
    for (bytes, expected) in [(encoder.finish().unwrap(), None), (zstandard(&[7; 1000]), Some([7; 1000]))] {
        fs::write(folder.path().join("file"), bytes).unwrap();
        let source = Source::find(&environment, "file", "data.train").unwrap();
        match (source.reader(&Loading::new(&environment)), expected) {
            (Err(error), None) => assert!(matches!(error, DataError::Memory { .. }), "{error}"),
            (reader, expected) => {
                let mut found = [0; 1000];
                source.fill(reader.unwrap().as_mut(), &mut found).unwrap();
                assert_eq!(Some(found), expected);
            }
        }
    }
}
