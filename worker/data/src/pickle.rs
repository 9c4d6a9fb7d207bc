//! Reads the pickled batches of CIFAR's Python version, and nothing else that a pickle can be. A pickle is a program for a
//! stack machine (Python's `pickletools` describes its opcodes). Here it can make numbers, texts, lists, dictionaries and
//! arrays of bytes; nothing that it names is looked up or called.

mod machine;

use machine::{Machine, Value};

/// Most values that a batch may have: the largest one has 50,000 pictures with two labels and a name each.
pub(crate) const MAX_VALUES: usize = 1 << 18;
/// Bytes in memory for each of them.
pub(crate) const VALUE: u64 = 80;

/// A dictionary that a file holds.
pub(crate) struct Pickle<'a> {
    machine: Machine<'a>,
    entries: Vec<(usize, usize)>,
}

/// An array of bytes of two dimensions, row after row.
#[derive(Debug)]
pub(crate) struct Array<'a> {
    /// Bytes of a row.
    pub(crate) row: usize,
    pub(crate) bytes: &'a [u8],
}

/// Whether a file's first bytes are those of a pickle of a binary protocol.
pub(crate) fn is_pickle(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..])
}

impl<'a> Pickle<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// Says at which byte something stands that batches of CIFAR do not have.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let (machine, result) = Machine::run(bytes)?;
        match machine.value(result) {
            Value::Dict(entries) => Ok(Self { entries: entries.clone(), machine }),
            _ => Err("it holds no dictionary".to_owned()),
        }
    }

    /// The keys that are texts, for errors.
    fn keys(&self) -> String {
        let texts = self.entries.iter().filter_map(|(key, _)| self.machine.text(*key));
        texts.map(|key| format!("{:?}", String::from_utf8_lossy(key))).collect::<Vec<_>>().join(", ")
    }

    fn get(&self, name: &str) -> Result<usize, String> {
        let is_it = |(key, _): &&(usize, usize)| self.machine.text(*key) == Some(name.as_bytes());
        let found = self.entries.iter().find(is_it).map(|(_, value)| *value);
        found.ok_or_else(|| format!("it has no {name:?}; there are {}", self.keys()))
    }

    /// A list of whole numbers.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<i64>, String> {
        let Value::List(items) = self.machine.value(self.get(name)?) else {
            return Err(format!("{name:?} is no list"));
        };
        let number = |(place, item): (usize, &usize)| match self.machine.value(*item) {
            Value::Int(number) => Ok(*number),
            _ => Err(format!("{name:?}: item {place} is no whole number")),
        };
        items.iter().enumerate().map(number).collect()
    }

    /// An array of bytes of two dimensions.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(crate) fn array(&self, name: &str) -> Result<Array<'a>, String> {
        let refuse = |problem: &str| Err(format!("{name:?}: {problem}, expected an array of bytes in rows"));
        let machine = &self.machine;
        let Value::Reduced { callable, arguments, state } = machine.value(self.get(name)?) else {
            return refuse("found no array");
        };
        // NumPy's two ways: an empty array that gets its state, and one made from a buffer.
        let parts = match (machine.global(*callable), state) {
            (Some((b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct")), Some(state)) => {
                let [_, shape, dtype, is_fortran, bytes] = machine.tuple(*state).unwrap_or_default() else {
                    return refuse("found an array without shape and content");
                };
                let in_rows = matches!(machine.value(*is_fortran), Value::Bool(false));
                (*shape, *dtype, in_rows, *bytes)
            }
            (Some((b"numpy.core.numeric" | b"numpy._core.numeric", b"_frombuffer")), None) => {
                let [bytes, dtype, shape, order] = machine.tuple(*arguments).unwrap_or_default() else {
                    return refuse("found an array without shape and content");
                };
                (*shape, *dtype, machine.text(*order) == Some(b"C"), *bytes)
            }
            _ => return refuse("found something else"),
        };
        let (shape, dtype, in_rows, bytes) = parts;
        if !in_rows || !self.is_of_bytes(dtype) {
            return refuse("found an array of other elements or in another order");
        }
        let extents: Vec<_> =
            machine.tuple(shape).unwrap_or_default().iter().map(|extent| machine.value(*extent)).collect();
        let [Value::Int(rows), Value::Int(row)] = extents[..] else {
            return refuse("found another number of dimensions");
        };
        let Some(bytes) = machine.text(bytes) else { return refuse("found no content") };
        match (usize::try_from(*rows), usize::try_from(*row)) {
            (Ok(rows), Ok(row)) if rows.checked_mul(row) == Some(bytes.len()) => Ok(Array { row, bytes }),
            _ => refuse("found a content of another length than the shape"),
        }
    }

    fn is_of_bytes(&self, dtype: usize) -> bool {
        let Value::Reduced { callable, arguments, .. } = self.machine.value(dtype) else { return false };
        let name = self.machine.tuple(*arguments).and_then(|arguments| arguments.first());
        self.machine.global(*callable) == Some((b"numpy", b"dtype"))
            && name.is_some_and(|name| self.machine.text(*name) == Some(b"u1"))
    }
}

#[cfg(test)]
mod tests;
