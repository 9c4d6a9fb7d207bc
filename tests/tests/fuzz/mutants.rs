//! Mutants: inputs of a target's corpus with a few changes, which get further than random bytes.

use std::fmt;
use std::path::PathBuf;

use bolero::ValueGenerator;
use bolero::produce;

pub(crate) struct Mutant(pub(crate) Vec<u8>);

impl fmt::Debug for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/__fuzz__").join(target)
}

/// The corpus of a target, by the names of its files.
pub(crate) fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder(target).join("corpus");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable corpus"))
        .map(|entry| {
            let bytes = std::fs::read(entry.path()).expect("a readable file");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    files.sort();
    files
}

/// Saves an input among the target's crashes if its thread panics.
pub(crate) struct KeptIfFailing<'a>(pub(crate) &'static str, pub(crate) &'a [u8]);

impl Drop for KeptIfFailing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folder = folder(self.0).join("crashes");
            // Errors are ignored: the test fails in any case.
            let _ = std::fs::create_dir_all(&folder);
            let _ = std::fs::write(folder.join("mutant"), self.1);
        }
    }
}

/// Kind, places and value of a change; the numbers are taken modulo what is possible.
type Edit = (u8, u16, u16, u64);

/// Mutants of a corpus.
pub(crate) fn of(corpus: Vec<(String, Vec<u8>)>) -> impl ValueGenerator<Output = Mutant> {
    let seeds: Vec<Vec<u8>> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let edits = produce::<Vec<Edit>>().with().len(1..6_usize);
    (produce::<u16>(), edits).map_gen(move |(seed, edits)| {
        let mut bytes = seeds[usize::from(seed) % seeds.len()].clone();
        for edit in edits {
            apply(&mut bytes, edit, &seeds);
        }
        Mutant(bytes)
    })
}

/// Numbers near limits and overflows.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    3,
    7,
    8,
    127,
    128,
    255,
    4096,
    65_535,
    1 << 20,
    (1 << 20) + 1,
    1 << 31,
    u32::MAX as u64,
    1 << 40,
    (1 << 53) + 1,
    i64::MAX as u64,
    u64::MAX - 8,
    u64::MAX,
];

/// The same for numbers in decimal notation.
const WORDS: [&str; 16] = [
    "-1",
    "0.5",
    "1.0",
    "-0.0",
    "nan",
    "inf",
    "1e308",
    "1e400",
    "true",
    "\"\"",
    "[]",
    "{}",
    "null",
    "[1, 2]",
    "9007199254740993",
    "18446744073709551616",
];

fn apply(bytes: &mut Vec<u8>, (kind, at, length, value): Edit, seeds: &[Vec<u8>]) {
    let at = usize::from(at) % (bytes.len() + 1);
    let mut length = usize::from(length);
    // Keep most pieces short.
    if length % 4 != 0 {
        length %= 24;
    }
    let end = (at + length + 1).min(bytes.len());
    let number = NUMBERS[(value % NUMBERS.len() as u64) as usize];
    match kind % 12 {
        0 => change(bytes, at, |byte| byte ^ 1 << (value % 8)),
        1 => change(bytes, at, |_| number as u8),
        2 => change(bytes, at, |byte| byte.wrapping_add((value % 9) as u8).wrapping_sub(4)),
        3 => overwrite(bytes, at, &number.to_le_bytes()[..4]),
        4 => overwrite(bytes, at, &number.to_le_bytes()),
        5 => overwrite(bytes, at, &(number as u32).to_be_bytes()),
        6 => drop(bytes.drain(at..end)),
        7 => {
            let piece = bytes[at..end].to_vec();
            insert(bytes, at, &piece);
        }
        8 => insert(bytes, at, &value.to_le_bytes()[..1 + length % 8]),
        9 => {
            let other = &seeds[(value % seeds.len() as u64) as usize];
            let from = (value >> 32) as usize % (other.len() + 1);
            insert(bytes, at, &other[from..(from + length).min(other.len())]);
        }
        10 => bytes.truncate(at),
        _ => rewrite_number(bytes, at, value),
    }
}

fn change(bytes: &mut [u8], at: usize, how: impl Fn(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = how(*byte);
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    bytes[at..].iter_mut().zip(with).for_each(|(byte, new)| *byte = *new);
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// Replaces the first decimal number from `at` on.
fn rewrite_number(bytes: &mut Vec<u8>, at: usize, value: u64) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|found| at + found) else { return };
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let choice = (value >> 8) as usize;
    let new = match value % 2 {
        0 => NUMBERS[choice % NUMBERS.len()].to_string(),
        _ => WORDS[choice % WORDS.len()].to_owned(),
    };
    bytes.splice(start..start + digits, new.into_bytes());
}
