//! What a page claims to contain and decoders allocate memory for at once: the lengths of texts in delta encodings, and
//! the values of lists.

use ::parquet::basic::Encoding;
use ::parquet::column::page::Page;

use super::values::VALUE;

/// Bytes of a length.
const LENGTH: u64 = 4;
/// Bytes of the two levels of a value.
const LEVELS: u64 = 4;
/// Copies of a value in lists while its row is read, at most: vectors that grow have twice their room.
const COPIES: u64 = 3;
/// Most bytes of a number of variable length.
const NUMBER: u32 = 9;

/// Bytes that reading the values of a page takes in addition to the page, at most. `lists` is the number of lists around
/// a value, and `nulls` whether there are definition levels.
pub(super) fn of_page(page: &Page, lists: i16, nulls: bool) -> Result<u64, String> {
    let values = u64::from(page.num_values());
    // A row is read with all its values, of which there may be as many as the page has.
    let of_lists = if lists > 0 { values * COPIES * (VALUE + LEVELS) } else { 0 };
    let (encoding, start) = match page {
        Page::DictionaryPage { .. } => return Ok(0),
        Page::DataPage { encoding, def_level_encoding, rep_level_encoding, buf, .. } => {
            let mut start = 0;
            let levels = [(lists > 0, rep_level_encoding), (nulls, def_level_encoding)];
            for (_, level_encoding) in levels.into_iter().filter(|(present, _)| *present) {
                if *level_encoding != Encoding::RLE {
                    // Only the oldest programs write them otherwise, and these know no delta encoding.
                    return if is_delta(*encoding) {
                        Err("levels of an old kind".to_owned())
                    } else {
                        Ok(of_lists)
                    };
                }
                let length = buf.get(start..start + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
                let length = length.map(u32::from_le_bytes).ok_or("levels beyond the end of a page")?;
                start = start.saturating_add(4).saturating_add(length as usize);
            }
            (*encoding, start)
        }
        Page::DataPageV2 { encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
            (*encoding, (*def_levels_byte_len as usize).saturating_add(*rep_levels_byte_len as usize))
        }
    };
    let data = || page.buffer().get(start..).ok_or("levels beyond the end of a page");
    let lengths = match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => Packed::read(data()?)?.values,
        Encoding::DELTA_BYTE_ARRAY => {
            let data = data()?;
            let prefixes = Packed::read(data)?;
            let suffixes = data.get(prefixes.end..).ok_or("lengths beyond the end of a page")?;
            prefixes.values.saturating_add(Packed::read(suffixes)?.values)
        }
        _ => 0,
    };
    if lengths > 2 * values {
        return Err(format!("{lengths} lengths of texts in a page of {values} values"));
    }
    Ok(of_lists + lengths * LENGTH)
}

fn is_delta(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY)
}

/// Numbers in the encoding DELTA_BINARY_PACKED: how many, and where they end.
#[derive(Debug, PartialEq, Eq)]
struct Packed {
    values: u64,
    end: usize,
}

impl Packed {
    /// Goes through the blocks, of which each says how many bits its numbers have (Apache Parquet format, encodings).
    fn read(data: &[u8]) -> Result<Self, String> {
        let mut cursor = Cursor { data, at: 0 };
        let (block, parts) = (cursor.number()?, cursor.number()?);
        let values = cursor.number()?;
        cursor.number()?;
        let per_part = block.checked_div(parts).filter(|&numbers| numbers > 0 && numbers.is_multiple_of(8));
        let per_part = per_part.ok_or_else(|| format!("{parts} parts of a block of {block} numbers"))?;
        let mut left = values.saturating_sub(1);
        while left > 0 {
            cursor.number()?;
            let bits = cursor.bytes(parts)?;
            let mut length = 0_u64;
            for &bits in bits {
                let used = if left == 0 { 0 } else { u64::from(bits) };
                length = length.saturating_add(used.saturating_mul(per_part / 8));
                left = left.saturating_sub(per_part);
            }
            cursor.bytes(length)?;
        }
        Ok(Self { values, end: cursor.at })
    }
}

struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn bytes(&mut self, count: u64) -> Result<&'a [u8], String> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let bytes = end.and_then(|end| self.data.get(self.at..end));
        let bytes = bytes.ok_or_else(|| format!("{count} bytes of lengths beyond the end of a page"))?;
        self.at += bytes.len();
        Ok(bytes)
    }

    /// A number in seven bits of each byte.
    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for place in 0..=NUMBER {
            let byte = self.bytes(1)?[0];
            number |= u64::from(byte & 0x7f).checked_shl(7 * place).unwrap_or(0);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number of a page does not end".to_owned())
    }
}

#[cfg(test)]
mod tests;
