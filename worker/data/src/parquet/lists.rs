//! Lists in a column of images: one image in a list, or pixels in lists of equal lengths.

use super::schema::{Kind, Leaf};
use super::values::{NotRead, Pixels, Stored};
use crate::FileProblem;

/// A value within lists; none where a list is null or empty, or has a null.
pub(super) struct Element {
    /// The number of lists that go on: 0 at the beginning of a row.
    pub(super) repeated: i16,
    pub(super) value: Option<Stored>,
}

/// Appends what the lists of each row hold.
pub(super) fn listed(
    leaf: &Leaf,
    first: u64,
    elements: impl Iterator<Item = Element>,
    into: &mut Vec<Stored>,
) -> Result<(), NotRead> {
    let start = into.len();
    let mut row: Vec<Element> = Vec::new();
    for element in elements {
        if element.repeated == 0 && !row.is_empty() {
            into.push(content(leaf, first + (into.len() - start) as u64, &row)?);
            row.clear();
        }
        row.push(element);
    }
    if !row.is_empty() {
        into.push(content(leaf, first + (into.len() - start) as u64, &row)?);
    }
    Ok(())
}

/// What the lists of a row hold: an image, or pixels.
fn content(leaf: &Leaf, row: u64, elements: &[Element]) -> Result<Stored, NotRead> {
    let wrong = |found: String, expected: &str| -> NotRead {
        FileProblem::Cell { place: leaf.place(row), found, expected: expected.to_owned() }.into()
    };
    if matches!(leaf.kind, Kind::Binary | Kind::Text) {
        return match elements {
            [Element { value: Some(image), .. }] => Ok(image.clone()),
            [Element { value: None, .. }] => Ok(Stored::Null),
            several => Err(wrong(format!("a list of {}", several.len()), "one image")),
        };
    }
    if let [Element { value: None, .. }] = elements {
        return Ok(Stored::Null);
    }
    let mut values = Vec::with_capacity(elements.len());
    for element in elements {
        values.push(match &element.value {
            Some(value) => {
                pixel(value).ok_or_else(|| wrong(shown(value), "a whole number from 0 to 255 as a pixel"))?
            }
            None => return Err(wrong("null in a list".to_owned(), "pixels")),
        });
    }
    let lengths = lengths(leaf.lists, elements)
        .ok_or_else(|| wrong("lists of different lengths".to_owned(), "pixels in rows of one length"))?;
    Ok(Stored::Pixels(Box::new(Pixels { lengths, values })))
}

fn pixel(value: &Stored) -> Option<u8> {
    match value {
        Stored::Whole(value) => u8::try_from(*value).ok(),
        Stored::Number(value) if value.fract() == 0.0 && (0.0..=255.0).contains(value) => Some(*value as u8),
        _ => None,
    }
}

fn shown(value: &Stored) -> String {
    match value {
        Stored::Whole(value) => value.to_string(),
        Stored::Number(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}

/// The lengths of the lists within each other, the outermost first; `None` if lists of one depth differ.
fn lengths(depth: i16, elements: &[Element]) -> Option<Vec<usize>> {
    // Values that begin an element of the list at each depth, of which the outermost list is that of depth 0.
    let begun = |level: i16| elements.iter().filter(|element| element.repeated <= level).count();
    let counts: Vec<usize> = (0..=depth).map(begun).collect();
    let lengths: Vec<usize> = counts.windows(2).map(|pair| pair[1] / pair[0].max(1)).collect();
    let expected = |place: usize| {
        let mut stride = elements.len();
        (0..=depth).find(|&level| {
            if level > 0 {
                stride /= lengths[level as usize - 1].max(1);
            }
            stride > 0 && place.is_multiple_of(stride)
        })
    };
    let is_regular =
        elements.iter().enumerate().all(|(place, element)| expected(place) == Some(element.repeated));
    is_regular.then_some(lengths)
}

#[cfg(test)]
mod tests;
