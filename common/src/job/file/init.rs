//! The key `model.init`, which takes a file or a checkpoint of another job.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// `init = "init.safetensors"`, or `[model.init]` with a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Init {
    /// A safetensors file. In a job file, its path, relative to the job file; on the wire, its digest.
    File(String),
    /// A checkpoint of another job.
    Job(InitialJob),
}

/// `[model.init]`: a checkpoint of another job of the same coordinator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitialJob {
    /// Identity of the other job.
    pub job: String,
    /// Outer steps done at the checkpoint; default the newest one when the new job is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    /// Whether the job goes on where the other one stopped, with the state of its optimizer; default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
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
                InitialJob::deserialize(MapAccessDeserializer::new(map)).map(Init::Job)
            }
        }
        deserializer.deserialize_any(FileOrJob)
    }
}
