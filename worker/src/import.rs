//! Initial weights from a file of another program: other names, other dtypes, another head. The result is a file of the
//! model's own tensors, so that whoever gets it afterwards can be strict.

mod error;
mod explain;
mod names;
mod positions;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::{ImportedFile, MissingStatistics, Positions};
use lookbehind_common::layout::{Layout, TensorEntry, TensorKind};
use lookbehind_common::model_file;
use lookbehind_common::model_state::ModelState;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

pub use error::ImportError;
use names::Renaming;
use values::Values;

/// Last component of the names of a vision transformer's position embeddings.
const POSITIONS: &str = "pos_embed";
/// Name of its class token, which has a position as well.
const CLASS_TOKEN: &str = "cls_token";
/// Beginning of the archives that `torch.save` writes.
const ZIP: &[u8] = b"PK\x03\x04";

/// A model whose tensors are wanted.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Its kind in the job.
    pub kind: &'a str,
    /// Its tensors.
    pub layout: &'a Layout,
    /// What a new model of the job starts with, for the tensors that are not taken from the file.
    pub initial: &'a ModelState<FlatBuffer>,
}

/// The model file, with all tensors of the model and no others, that comes out of another program's file.
///
/// F16, BF16 and F64 become f32, the last one rounded to nearest, ties to even.
///
/// # Errors
/// If the file is damaged, a tensor is missing, has another shape or a value that is not finite, the file has one that is
/// not used, or a key of the job has no effect.
pub fn import(bytes: &[u8], from: &ImportedFile, model: Wanted<'_>) -> Result<Vec<u8>, ImportError> {
    let file = read(bytes)?;
    let file = Renamed::new(&file, from, model.kind)?;
    check_prefixes(
        "fresh",
        &from.fresh,
        model.layout.entries().iter().map(|entry| entry.spec.name.as_str()),
    )?;
    let mut state = model.layout.lengths().map(FlatBuffer::zeros);
    let mut taken = BTreeSet::new();
    for entry in model.layout.entries() {
        let target = &mut state[entry.spec.kind][entry.range.clone()];
        let initial = &model.initial[entry.spec.kind][entry.range.clone()];
        let name = entry.spec.name.as_str();
        let source = file.tensors.get(name);
        taken.extend(source.map(|_| name));
        let may_lack = entry.spec.kind == TensorKind::RunningStatistic
            && from.missing_statistics == MissingStatistics::Initial;
        match source {
            _ if is_under_any(name, &from.fresh) => target.copy_from_slice(initial),
            Some(source) => source.fill(entry, from, model, target)?,
            None if may_lack => target.copy_from_slice(initial),
            None => return Err(file.missing(name, from, model)),
        }
    }
    file.check_all_taken(&taken)?;
    Ok(model_file::to_bytes(model.layout, &state, &BTreeMap::new())?)
}

fn read(bytes: &[u8]) -> Result<SafeTensors<'_>, ImportError> {
    if bytes.starts_with(ZIP) {
        return Err(ImportError::Pickle);
    }
    SafeTensors::deserialize(bytes).map_err(|source| ImportError::File(source.into()))
}

/// Whether a tensor has this name or belongs to the module of this name.
fn is_under(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn is_under_any(name: &str, modules: &[String]) -> bool {
    modules.iter().any(|module| is_under(name, module))
}

/// Refuses an element of a list of modules that none of the names belongs to.
fn check_prefixes<'a>(
    key: &'static str,
    modules: &[String],
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), ImportError> {
    let without_effect = |module: &&String| !names.clone().any(|name| is_under(name, module));
    match modules.iter().find(without_effect) {
        None => Ok(()),
        Some(module) => {
            let names = explain::listed(names.map(str::to_owned).collect());
            Err(ImportError::NoEffect { key, value: module.clone(), names })
        }
    }
}

/// Whether a tensor of this name holds position embeddings.
fn are_positions(name: &str) -> bool {
    name.rsplit('.').next() == Some(POSITIONS)
}

/// A tensor of the file with its name there.
type Piece<'a> = (String, TensorView<'a>);

/// What a tensor of the model consists of: tensors of the file, one after the other along the first dimension.
struct Source<'a> {
    first: Piece<'a>,
    rest: Vec<Piece<'a>>,
}

/// A file's tensors by the names that the model has.
struct Renamed<'a> {
    tensors: BTreeMap<String, Source<'a>>,
    /// The names in the file, for errors.
    names: Vec<String>,
}

impl<'a> Renamed<'a> {
    fn new(file: &'a SafeTensors<'a>, from: &ImportedFile, kind: &str) -> Result<Self, ImportError> {
        let mut renaming = Renaming::new(from.names.as_ref(), kind)?;
        let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
        names.sort_unstable();
        check_prefixes("drop", &from.drop, names.iter().map(String::as_str))?;
        // By the name in the model, and by their place there.
        let mut tensors: BTreeMap<String, BTreeMap<usize, Piece<'a>>> = BTreeMap::new();
        for name in &names {
            let Some(stripped) = name.strip_prefix(&from.strip_prefix) else { continue };
            if is_under_any(name, &from.drop) || model_file::is_counter(name) {
                continue;
            }
            let Some((target, place)) = renaming.rename(stripped) else { continue };
            let tensor = file.tensor(name).map_err(|source| ImportError::File(source.into()))?;
            let pieces = tensors.entry(target.clone()).or_default();
            if let Some((other, _)) = pieces.insert(place, (name.clone(), tensor)) {
                return Err(ImportError::Twice { target, first: other, second: name.clone() });
            }
        }
        if !from.strip_prefix.is_empty() && names.iter().all(|name| !name.starts_with(&from.strip_prefix)) {
            let (value, names) = (from.strip_prefix.clone(), explain::listed(names));
            return Err(ImportError::NoEffect { key: "strip_prefix", value, names });
        }
        renaming.check_all_used(&names)?;
        let source = |(target, pieces): (String, BTreeMap<usize, Piece<'a>>)| {
            let mut pieces = pieces.into_values();
            Some((target, Source { first: pieces.next()?, rest: pieces.collect() }))
        };
        Ok(Self { tensors: tensors.into_iter().filter_map(source).collect(), names })
    }

    fn missing(&self, name: &str, from: &ImportedFile, model: Wanted<'_>) -> ImportError {
        let hint = explain::mending(&self.names, from, model).unwrap_or_default();
        ImportError::Missing { name: name.to_owned(), found: explain::listed(self.names.clone()), hint }
    }

    /// Refuses a tensor of the file that nothing came of.
    fn check_all_taken(&self, taken: &BTreeSet<&str>) -> Result<(), ImportError> {
        match self.tensors.iter().find(|(target, _)| !taken.contains(target.as_str())) {
            None => Ok(()),
            Some((target, source)) => {
                Err(ImportError::Unused { name: source.first_name().to_owned(), target: target.clone() })
            }
        }
    }
}

impl Source<'_> {
    /// The name in the file of its first piece.
    fn first_name(&self) -> &str {
        &self.first.0
    }

    /// Its values, of one tensor or of several that follow each other.
    fn values(&self) -> Result<Values, ImportError> {
        let of = |(name, tensor): &Piece<'_>| Values::of(name, tensor);
        self.rest.iter().try_fold(of(&self.first)?, |values, next| values.followed_by(of(next)?, &next.0))
    }

    /// Copies its values to a tensor of the model, resampled if they are position embeddings and the job asks for it.
    fn fill(
        &self,
        entry: &TensorEntry,
        from: &ImportedFile,
        model: Wanted<'_>,
        target: &mut [f32],
    ) -> Result<(), ImportError> {
        let mut values = self.values()?;
        let expected = &entry.spec.shape;
        if values.shape != *expected
            && are_positions(&entry.spec.name)
            && from.positions == Positions::Resample
        {
            let others = model.layout.entries().iter().filter(|entry| entry.spec.name.ends_with(CLASS_TOKEN));
            values = positions::resampled(&values, expected, others.count())?;
        }
        if values.shape != *expected {
            return Err(ImportError::Shape {
                name: self.first_name().to_owned(),
                expected: expected.clone(),
                hint: explain::other_shape(entry, model.kind, &values.shape),
                found: values.shape,
            });
        }
        target.copy_from_slice(&values.elements);
        Ok(())
    }
}

#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod tests;
