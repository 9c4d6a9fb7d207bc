//! One sample while its members are read.

use std::io::Read;

use serde::Deserialize;

use crate::FileProblem;

/// Most bytes of a member with a label.
const MAX_LABEL: u64 = 1 << 20;

/// Where labels are: members of an ending, or a key of the JSON of those that end in `.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) enum LabelKey {
    Ending(String),
    Json(String),
}

impl Default for LabelKey {
    fn default() -> Self {
        Self::Ending("cls".to_owned())
    }
}

impl From<String> for LabelKey {
    fn from(text: String) -> Self {
        match text.strip_prefix("json.") {
            Some(key) => Self::Json(key.to_owned()),
            None => Self::Ending(text),
        }
    }
}

impl LabelKey {
    /// Whether a member with this ending has the label.
    pub(super) fn is_of(&self, ending: &str) -> bool {
        match self {
            Self::Json(_) => ending.eq_ignore_ascii_case("json"),
            Self::Ending(own) => {
                let ending = ending.strip_suffix(".txt").unwrap_or(ending);
                ending.eq_ignore_ascii_case(own)
            }
        }
    }

    fn named(&self) -> String {
        match self {
            Self::Json(_) => "json".to_owned(),
            Self::Ending(ending) => ending.clone(),
        }
    }
}

/// The two parts of a member's path.
pub(super) struct Member<'a> {
    /// The key of the sample: everything before the first point of the name.
    pub(super) key: &'a str,
    pub(super) ending: &'a str,
}

impl<'a> Member<'a> {
    /// `None` for names that systems and tools give to files of their own, and for those without ending.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let name = path.rfind('/').map_or(0, |slash| slash + 1);
        let point = name + path[name..].find('.')?;
        let (key, ending) = (&path[..point], &path[point + 1..]);
        (point > name && !path.starts_with("__MACOSX/")).then_some(Self { key, ending })
    }
}

/// What is known of a sample.
pub(super) struct Sample {
    pub(super) key: String,
    image: Option<(String, Vec<u8>)>,
    label: Option<Vec<u8>>,
    /// Endings of all members, for errors.
    endings: Vec<String>,
}

impl Sample {
    pub(super) fn new(key: &str) -> Self {
        Self { key: key.to_owned(), image: None, label: None, endings: Vec::new() }
    }

    /// Notes a member that is not read.
    pub(super) fn note(&mut self, ending: &str) {
        const SHOWN: usize = 20;
        if self.endings.len() < SHOWN {
            self.endings.push(ending.to_owned());
        }
    }

    /// Reads the image; its memory has been charged.
    pub(super) fn take_image(
        &mut self,
        ending: &str,
        length: u64,
        reader: &mut dyn Read,
    ) -> Result<(), FileProblem> {
        self.note(ending);
        if let Some((other, _)) = &self.image {
            let problem =
                format!("has two images, .{other} and .{ending}: image = {ending:?} says which is meant");
            return Err(FileProblem::member(&self.key, problem));
        }
        self.image = Some((ending.to_owned(), self.read(ending, length, reader)?));
        Ok(())
    }

    /// Reads the label.
    pub(super) fn take_label(
        &mut self,
        key: &LabelKey,
        length: u64,
        reader: &mut dyn Read,
    ) -> Result<(), FileProblem> {
        let ending = key.named();
        self.note(&ending);
        if length > MAX_LABEL {
            return Err(FileProblem::TooLong { place: format!("{}.{ending}", self.key), limit: MAX_LABEL });
        }
        if self.label.is_some() {
            let problem = format!("has two members .{ending}, expected one");
            return Err(FileProblem::member(&self.key, problem));
        }
        self.label = Some(self.read(&ending, length, reader)?);
        Ok(())
    }

    fn read(&self, ending: &str, length: u64, reader: &mut dyn Read) -> Result<Vec<u8>, FileProblem> {
        let mut bytes = Vec::new();
        reader.take(length).read_to_end(&mut bytes).map_err(FileProblem::Io)?;
        if (bytes.len() as u64) < length {
            let what = format!("its member {:?}", format!("{}.{ending}", self.key));
            return Err(FileProblem::Cut { what, found: bytes.len() as u64, expected: length });
        }
        Ok(bytes)
    }

    /// The image, its class below `classes`, and its name.
    pub(super) fn whole(self, key: &LabelKey, classes: usize) -> Result<(Vec<u8>, u32, String), FileProblem> {
        let endings = self.endings.iter().map(|ending| format!(".{ending}"));
        let endings = endings.collect::<Vec<_>>().join(", ");
        let Some((ending, image)) = self.image else {
            return Err(FileProblem::member(&self.key, format!("has no image; there are {endings}")));
        };
        let Some(label) = self.label else {
            let problem = format!("has no member .{} with its label; there are {endings}", key.named());
            return Err(FileProblem::member(&self.key, problem));
        };
        let place = format!("{}.{}", self.key, key.named());
        let class = class_of(key, &label, &place)?;
        match u32::try_from(class).ok().filter(|class| (*class as usize) < classes) {
            Some(label) => Ok((image, label, format!("{}.{ending}", self.key))),
            None => Err(FileProblem::label(&place, class, classes)),
        }
    }
}

/// The class that a member says.
fn class_of(key: &LabelKey, text: &[u8], place: &str) -> Result<i64, FileProblem> {
    let refuse = |found: String| {
        let expected = "a whole number, the class".to_owned();
        Err(FileProblem::Cell { place: place.to_owned(), found, expected })
    };
    let shown = |text: &[u8]| format!("{:?}", String::from_utf8_lossy(&text[..text.len().min(40)]));
    match key {
        LabelKey::Ending(_) => {
            let number = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
            number.map_or_else(|| refuse(shown(text)), Ok)
        }
        LabelKey::Json(key) => {
            let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(text) else {
                return refuse(shown(text));
            };
            match fields.get(key) {
                Some(value) => value.as_i64().map_or_else(|| refuse(shown(value.to_string().as_bytes())), Ok),
                None => {
                    let present = fields.keys().take(20).map(|key| format!("{key:?}"));
                    let present = present.collect::<Vec<_>>().join(", ");
                    let expected = format!("the key {key:?}");
                    Err(FileProblem::Cell {
                        place: place.to_owned(),
                        found: format!("the keys {present}"),
                        expected,
                    })
                }
            }
        }
    }
}
