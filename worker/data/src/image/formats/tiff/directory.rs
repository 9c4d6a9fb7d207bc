//! The directory of a TIFF's first image, as far as it bounds the memory that reading it takes: the decoder makes room
//! for as many values as a tag claims to have, before it can be given a limit.

use super::Tag;

/// Most values of a tag: the places of as many strips as an image may have rows.
const MAX_VALUES: u64 = 1 << 16;

/// The bytes of a file, from which numbers are read in its order of bytes.
struct Numbers<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl Numbers<'_> {
    /// The number in `N` bytes from a place on; `None` beyond the end of the file.
    fn at<const N: usize>(&self, place: u64) -> Option<u64> {
        let place = usize::try_from(place).ok()?;
        let bytes = self.bytes.get(place..place.checked_add(N)?)?;
        let joined = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.little { bytes.iter().rev().fold(0, joined) } else { bytes.iter().fold(0, joined) })
    }
}

/// The first tag of the first image that claims more values than any may have, and how many. What is no TIFF, or ends
/// early, is left to the decoder.
pub(super) fn excessive(bytes: &[u8]) -> Option<(Tag, u64)> {
    let numbers = Numbers { bytes, little: bytes.starts_with(b"II") };
    let is_big = numbers.at::<2>(2)? == 43;
    let (directory, entry) = if is_big { (numbers.at::<8>(8)?, 20) } else { (numbers.at::<4>(4)?, 12) };
    let (entries, first) = if is_big {
        (numbers.at::<8>(directory)?, directory.checked_add(8)?)
    } else {
        (numbers.at::<2>(directory)?, directory.checked_add(2)?)
    };
    for number in 0..entries {
        let place = first.checked_add(number.checked_mul(entry)?)?;
        let tag = numbers.at::<2>(place)? as u16;
        let values = if is_big { numbers.at::<8>(place + 4)? } else { numbers.at::<4>(place + 4)? };
        if values > MAX_VALUES && is_read(tag) {
            return Some((Tag::from_u16_exhaustive(tag), values));
        }
    }
    None
}

/// Whether the decoder reads a tag: descriptions, metadata and private tags, which may be long, it does not.
fn is_read(tag: u16) -> bool {
    const DESCRIPTION: u16 = 270;
    const METADATA: u16 = 700;
    const PRIVATE: u16 = 0x8000;
    tag < PRIVATE && tag != DESCRIPTION && tag != METADATA
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose first image has one tag.
    fn file(tag: u16, values: u32) -> Vec<u8> {
        let entry = [&tag.to_le_bytes()[..], &3_u16.to_le_bytes(), &values.to_le_bytes(), &[0; 4]].concat();
        [&b"II\x2a\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat()
    }

    #[test]
    fn a_tag_that_claims_more_values_than_an_image_has_rows_is_found() {
        assert_eq!(excessive(&file(273, 1 << 16)), None);
        assert_eq!(excessive(&file(273, (1 << 16) + 1)), Some((Tag::StripOffsets, (1 << 16) + 1)));
        assert_eq!(excessive(&file(270, 1 << 20)), None, "a description is not read");
        let big = [&b"MM\0\x2b\0\x08\0\0"[..], &16_u64.to_be_bytes(), &1_u64.to_be_bytes()].concat();
        let entry = [&273_u16.to_be_bytes()[..], &4_u16.to_be_bytes(), &u64::MAX.to_be_bytes()].concat();
        assert_eq!(excessive(&[big, entry].concat()), Some((Tag::StripOffsets, u64::MAX)));
        assert_eq!(
            excessive(b"II\x2a\0\xff\xff\xff\xff"),
            None,
            "the decoder finds that the file ends early"
        );
    }
}
