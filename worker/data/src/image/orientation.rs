//! How an image has to be turned before it is looked at: the tag «Orientation» of EXIF (CIPA DC-008, 4.6.5.1).

/// Number of the tag, and the type of its value, an unsigned number of 16 bits.
const TAG: u16 = 0x0112;
const SHORT: u16 = 3;
/// Bytes of an entry of a directory.
const ENTRY: usize = 12;

/// How the stored rows and columns become those of the upright image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orientation {
    /// Rows become columns, before the rest.
    swap: bool,
    /// The stored rows run upwards.
    flip_rows: bool,
    /// The stored columns run to the left.
    flip_columns: bool,
}

impl Orientation {
    /// The orientation of a value of the tag; upright for values that have no meaning.
    pub(super) fn of_tag(value: u64) -> Self {
        let (swap, flip_rows, flip_columns) = match value {
            2 => (false, false, true),
            3 => (false, true, true),
            4 => (false, true, false),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => (false, false, false),
        };
        Self { swap, flip_rows, flip_columns }
    }

    /// The orientation in an EXIF block; upright if there is none in it, or it is damaged.
    pub(super) fn of_exif(bytes: &[u8]) -> Self {
        Self::of_tag(tag(bytes).unwrap_or_default())
    }

    pub(super) fn swaps_sides(self) -> bool {
        self.swap
    }

    /// Turns pixels [height, width, channels].
    pub(super) fn turn<T: Copy>(
        self,
        pixels: Vec<T>,
        [height, width]: [usize; 2],
        channels: usize,
    ) -> Vec<T> {
        if self == Self::default() {
            return pixels;
        }
        let (rows, columns) = if self.swap { (width, height) } else { (height, width) };
        let mut turned = Vec::with_capacity(pixels.len());
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let (down, along) = if self.swap { (column, row) } else { (row, column) };
            let down = if self.flip_rows { height - 1 - down } else { down };
            let along = if self.flip_columns { width - 1 - along } else { along };
            let start = (down * width + along) * channels;
            turned.extend_from_slice(&pixels[start..start + channels]);
        }
        turned
    }
}

/// The value of the tag in the first directory of an EXIF block, which is a TIFF file; JPEG and some WebP files have a
/// prefix before it.
fn tag(bytes: &[u8]) -> Option<u64> {
    let bytes = bytes.strip_prefix(b"Exif\0\0").unwrap_or(bytes);
    let little = match bytes.get(..4)? {
        [b'I', b'I', 42, 0] => true,
        [b'M', b'M', 0, 42] => false,
        _ => return None,
    };
    let short = |at: usize| -> Option<u16> {
        let pair = *bytes.get(at..)?.first_chunk::<2>()?;
        Some(if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
    };
    let start = *bytes.get(4..)?.first_chunk::<4>()?;
    let start = if little { u32::from_le_bytes(start) } else { u32::from_be_bytes(start) } as usize;
    let entries = usize::from(short(start)?);
    let entry = |index: usize| start.checked_add(2 + index * ENTRY);
    let found = (0..entries).map_while(entry).find(|&at| short(at) == Some(TAG))?;
    (short(found.checked_add(2)?)? == SHORT).then(|| short(found.checked_add(8)?)).flatten().map(u64::from)
}

#[cfg(test)]
mod tests;
