//! The journal of a job's steps: only records with the right checksums, in their order, up to the first damage.

use std::collections::BTreeSet;
use std::path::Path;

use lookbehind_coordinator::store::journal::{Journal, Reader, path};
use lookbehind_proto::v1::{OuterStepMetrics, TimeSplit};
use prost::Message as _;
use xxhash_rust::xxh3::xxh3_64;

use crate::tape::Tape;
use crate::{memory, scratch_folder};

/// A journal that is undamaged to its last byte is accepted. The bytes are also used as bodies of records with correct
/// checksums, so that changes get past the checksum.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let folder = scratch_folder();
    is_read_right(folder.path(), &sealed(bytes));
    is_read_right(folder.path(), bytes)
}

/// An outer step as the coordinator records it.
fn step(outer_step: u64, loss: f64) -> OuterStepMetrics {
    OuterStepMetrics { outer_step, loss, time: Some(TimeSplit::default()), ..OuterStepMetrics::default() }
}

/// A record as the journal writes it.
fn record(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &xxh3_64(body).to_le_bytes(), body].concat()
}

/// A journal by the instructions in `bytes`: steps, any bodies with correct checksums, and damage.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let (mut tape, mut journal) = (Tape(bytes), Vec::new());
    while let (Some(kind), Some(number)) = (tape.byte(), tape.number()) {
        match kind % 4 {
            0 | 1 => {
                let loss = number as f64 / 7.0;
                journal.extend(record(&step(number as u64, loss).encode_to_vec()));
            }
            2 => journal.extend(record(tape.take(number % 64))),
            _ => journal.extend(tape.take(number % 64)),
        }
    }
    journal
}

/// The undamaged steps before the first damage, and the bytes that they occupy.
fn whole_records(mut bytes: &[u8]) -> (Vec<OuterStepMetrics>, usize) {
    let (mut found, length) = (Vec::new(), bytes.len());
    while let Some(size) = bytes.first_chunk::<4>() {
        let end = 12 + u32::from_le_bytes(*size) as usize;
        let Some((whole, rest)) = bytes.split_at_checked(end) else { break };
        let body = &whole[12..];
        if record(body) != whole {
            break;
        }
        match OuterStepMetrics::decode(body) {
            Ok(step) if step.time.is_some() => found.push(step),
            _ => break,
        }
        bytes = rest;
    }
    (found, length - bytes.len())
}

/// Compared as bytes, since values may be NaN.
fn encoded(steps: &[OuterStepMetrics]) -> Vec<Vec<u8>> {
    steps.iter().map(OuterStepMetrics::encode_to_vec).collect()
}

/// Everything that a reader finds. The reader does not advance past its end.
fn read(job: &Path, length: usize) -> Vec<OuterStepMetrics> {
    let mut reader = Reader::new(path(job));
    // The longest record may be allocated, even if the file is shorter.
    let limit = (1 << 20) + (1 << 16) + 16 * length;
    let mut next = || memory::within(limit, || reader.next_step()).expect("a readable file");
    let found = std::iter::from_fn(&mut next).collect();
    for _ in 0..2 {
        assert_eq!(next(), None, "a record behind a damaged one");
    }
    found
}

fn is_read_right(job: &Path, bytes: &[u8]) -> bool {
    std::fs::write(path(job), bytes).expect("a writable file");
    let (steps, whole) = whole_records(bytes);
    assert_eq!(encoded(&read(job, bytes.len())), encoded(&steps));

    let keep = steps.get(steps.len() / 2).map_or(0, |step| step.outer_step);
    let mut kept: Vec<_> = steps.iter().take_while(|step| step.outer_step <= keep).cloned().collect();
    let (mut journal, cut_off) = Journal::open(job, keep).expect("a journal");
    let later = steps.iter().filter(|step| step.outer_step > keep).map(|step| step.outer_step);
    assert_eq!(cut_off.into_keys().collect::<BTreeSet<_>>(), later.collect());
    assert_eq!(encoded(&read(job, bytes.len())), encoded(&kept), "cut back to step {keep}");
    let next = step(keep.wrapping_add(1), 0.5);
    journal.append(&next).expect("a writable journal");
    kept.push(next);
    assert_eq!(encoded(&read(job, bytes.len())), encoded(&kept));
    whole == bytes.len()
}
