//! The key `model.init`, which takes a file or a checkpoint of another job.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// `init = "init.safetensors"`, or `[model.init]` with a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Init {
    /// A safetensors file. In a job file, its path, relative to the job file; on the wire, its digest.
    File(String),
    /// A safetensors file whose tensors have other names. Only in a job file: the client renames them, and passes the
    /// result on as [`Self::File`].
    Renamed(RenamedFile),
    /// A checkpoint of another job.
    Job(InitialJob),
}

/// `[model.init]`: a safetensors file whose tensors have a prefix that the model's do not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RenamedFile {
    /// Its path, relative to the job file.
    pub file: String,
    /// What is taken off the names that begin with it.
    pub strip_prefix: String,
}

/// `[model.init]`: a checkpoint of another job of the same coordinator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InitialJob {
    /// Identity of the other job.
    pub job: String,
    /// Outer steps done at the checkpoint; default the newest one when the new job is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    /// Whether the job goes on where the other one stopped, with the state of its optimizer; default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
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
    job: Option<String>,
    checkpoint: Option<u64>,
    #[serde(default)]
    continues: bool,
}

impl Section {
    fn init(self) -> Result<Init, &'static str> {
        let Self { file, strip_prefix, job, checkpoint, continues } = self;
        match (file, job) {
            (None, None) => Err("expected file or job, found neither"),
            (Some(_), Some(_)) => Err("expected either file or job, found both"),
            (None, Some(_)) if strip_prefix.is_some() => Err("strip_prefix is for a file, found a job"),
            (None, Some(job)) => Ok(Init::Job(InitialJob { job, checkpoint, continues })),
            (Some(_), None) if checkpoint.is_some() || continues => {
                Err("checkpoint and continues are for a job, found a file")
            }
            (Some(file), None) => Ok(match strip_prefix {
                None => Init::File(file),
                Some(strip_prefix) => Init::Renamed(RenamedFile { file, strip_prefix }),
            }),
        }
    }
}
