//! The key `model.init`, which takes a file or a checkpoint of another job.

use std::collections::BTreeMap;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// `init = "init.safetensors"`, or `[model.init]` with a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Init {
    /// A safetensors file. In a job file, its path, relative to the job file; on the wire, its digest.
    File(String),
    /// A safetensors file of another program. Only in a job file: the client converts it, and passes the result on as
    /// [`Self::File`].
    Imported(ImportedFile),
    /// A checkpoint of another job.
    Job(InitialJob),
}

/// `[model.init]`: a safetensors file of another program, and how the model's tensors come out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportedFile {
    /// Its path, relative to the job file.
    pub file: String,
    /// What is taken off the names that begin with it; tensors with other names are left out. Default: nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub strip_prefix: String,
    /// How its names become those of the model; default: they are the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Naming>,
    /// Tensors of the model, or modules with all of theirs, that are drawn from the seed instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fresh: Vec<String>,
    /// Tensors of the file, or modules with all of theirs, that are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// What happens to running statistics that the file does not have; default refuse.
    #[serde(skip_serializing_if = "is_default")]
    pub missing_statistics: MissingStatistics,
    /// What happens to position embeddings of another number of patches; default refuse.
    #[serde(skip_serializing_if = "is_default")]
    pub positions: Positions,
}

/// `names`: how the names of a file become those of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"timm\", \"torchvision\", \"huggingface\" or a table of replacements"
)]
pub enum Naming {
    /// The names of a library's model.
    Library(Library),
    /// Parts of names between dots, and what takes their place.
    Replaced(BTreeMap<String, String>),
}

/// A library whose names are known for some kinds of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Library {
    /// PyTorch Image Models.
    Timm,
    /// PyTorch's own models of images.
    Torchvision,
    /// Hugging Face Transformers.
    HuggingFace,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Timm, Self::Torchvision, Self::HuggingFace];

    /// Its name in job files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timm => "timm",
            Self::Torchvision => "torchvision",
            Self::HuggingFace => "huggingface",
        }
    }
}

/// `missing_statistics`: what happens to running statistics that a file does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingStatistics {
    /// The file is refused.
    #[default]
    Refuse,
    /// They start as in a new model: mean 0, variance 1.
    Initial,
}

/// `positions`: what happens to position embeddings of another number of patches than the model has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// The file is refused.
    #[default]
    Refuse,
    /// The square of patches is resampled, bicubic with antialiasing.
    Resample,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `[model.init]`: a checkpoint of another job of the same coordinator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InitialJob {
    /// Identity of the other job.
    pub job: String,
    /// Which checkpoint; default the newest one when the new job is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<WhichCheckpoint>,
    /// Whether the job goes on where the other one stopped, with the state of its optimizer; default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
}

/// `checkpoint`: one of the checkpoints of another job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the outer step of a checkpoint, or \"best\"")]
pub enum WhichCheckpoint {
    /// The one after so many outer steps.
    OuterStep(u64),
    /// One that a word names.
    Named(NamedCheckpoint),
}

impl WhichCheckpoint {
    /// The one that `checkpoint.keep_best` keeps when the new job is created.
    pub const BEST: Self = Self::Named(NamedCheckpoint::Best);
}

impl From<u64> for WhichCheckpoint {
    fn from(outer_step: u64) -> Self {
        Self::OuterStep(outer_step)
    }
}

/// A checkpoint that a word names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedCheckpoint {
    /// [`WhichCheckpoint::BEST`].
    Best,
}

impl From<String> for Init {
    fn from(file: String) -> Self {
        Self::File(file)
    }
}

impl<'de> Deserialize<'de> for Init {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FileOrJob;
        impl<'de> Visitor<'de> for FileOrJob {
            type Value = Init;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a file, or a section with a job")
            }

            fn visit_str<E: serde::de::Error>(self, file: &str) -> Result<Init, E> {
                Ok(Init::File(file.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Init, A::Error> {
                Section::deserialize(MapAccessDeserializer::new(map))?.init().map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(FileOrJob)
    }
}

/// All keys of `[model.init]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    file: Option<String>,
    strip_prefix: Option<String>,
    names: Option<Naming>,
    fresh: Option<Vec<String>>,
    drop: Option<Vec<String>>,
    missing_statistics: Option<MissingStatistics>,
    positions: Option<Positions>,
    job: Option<String>,
    checkpoint: Option<WhichCheckpoint>,
    #[serde(default)]
    continues: bool,
}

impl Section {
    fn init(self) -> Result<Init, String> {
        let for_a_file = self.given_for_a_file();
        let Self { file, job, checkpoint, continues, .. } = self;
        match (file, job) {
            (None, None) => Err("expected file or job, found neither".to_owned()),
            (Some(_), Some(_)) => Err("expected either file or job, found both".to_owned()),
            (None, Some(job)) => match for_a_file {
                Some(key) => Err(format!(
                    "{key} is for a file, found a job: `lookbehind fetch` gets its model, which file then names"
                )),
                None => Ok(Init::Job(InitialJob { job, checkpoint, continues })),
            },
            (Some(_), None) if checkpoint.is_some() || continues => {
                Err("checkpoint and continues are for a job, found a file".to_owned())
            }
            (Some(file), None) => Ok(Init::Imported(ImportedFile {
                file,
                strip_prefix: self.strip_prefix.unwrap_or_default(),
                names: self.names,
                fresh: self.fresh.unwrap_or_default(),
                drop: self.drop.unwrap_or_default(),
                missing_statistics: self.missing_statistics.unwrap_or_default(),
                positions: self.positions.unwrap_or_default(),
            })),
        }
    }

    /// The first key that says how a file is converted.
    fn given_for_a_file(&self) -> Option<&'static str> {
        let given = [
            ("strip_prefix", self.strip_prefix.is_some()),
            ("names", self.names.is_some()),
            ("fresh", self.fresh.is_some()),
            ("drop", self.drop.is_some()),
            ("missing_statistics", self.missing_statistics.is_some()),
            ("positions", self.positions.is_some()),
        ];
        given.into_iter().find_map(|(key, is_given)| is_given.then_some(key))
    }
}
