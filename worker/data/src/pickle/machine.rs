//! The stack machine: from opcodes to values that refer to each other by their numbers.

use std::collections::HashMap;

use super::MAX_VALUES;

/// A value. Others are referred to by their numbers.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Other,
    Bool(bool),
    Int(i64),
    /// A text or bytes.
    Text(&'a [u8]),
    List(Vec<usize>),
    Tuple(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    /// Something of a module, by name.
    Global(&'a [u8], &'a [u8]),
    /// What a callable would give for its arguments, and the state that it would get.
    Reduced {
        callable: usize,
        arguments: usize,
        state: Option<usize>,
    },
}

/// The machine, with everything that it made.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    /// The next byte.
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<usize>,
    /// Lengths of the stack where marks were set.
    marks: Vec<usize>,
    memo: HashMap<usize, usize>,
}

impl<'a> Machine<'a> {
    /// Runs a file to its end; returns the machine and the number of the result.
    pub(super) fn run(bytes: &'a [u8]) -> Result<(Self, usize), String> {
        let mut machine = Self {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        loop {
            let place = machine.at;
            let [opcode] = machine.take_array()?;
            if opcode == b'.' {
                let result = machine.pop()?;
                return Ok((machine, result));
            }
            machine.step(opcode, place)?;
        }
    }

    pub(super) fn value(&self, number: usize) -> &Value<'a> {
        &self.values[number]
    }

    pub(super) fn text(&self, number: usize) -> Option<&'a [u8]> {
        match self.values[number] {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, number: usize) -> Option<&[usize]> {
        match &self.values[number] {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn global(&self, number: usize) -> Option<(&'a [u8], &'a [u8])> {
        match self.values[number] {
            Value::Global(module, name) => Some((module, name)),
            _ => None,
        }
    }

    fn step(&mut self, opcode: u8, place: usize) -> Result<(), String> {
        match opcode {
            // PROTO, FRAME.
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            b'(' => self.mark(),
            b'N' => self.push(Value::Other),
            0x88 | 0x89 => self.push(Value::Bool(opcode == 0x88)),
            b'K' => self.take_array().and_then(|[byte]| self.push(Value::Int(byte.into()))),
            b'M' => self.take_array().and_then(|two| self.push(Value::Int(u16::from_le_bytes(two).into()))),
            b'J' => self.take_array().and_then(|four| self.push(Value::Int(i32::from_le_bytes(four).into()))),
            // SHORT_BINSTRING, SHORT_BINBYTES, SHORT_BINUNICODE; then those with a length of 4 and of 8 bytes.
            b'U' | b'C' | 0x8c => self.text_of(1),
            b'T' | b'B' | b'X' => self.text_of(4),
            0x8d | 0x8e | 0x96 => self.text_of(8),
            b']' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items))
            }
            0x85..=0x87 => {
                let items = self.pop_last(usize::from(opcode - 0x84))?;
                self.push(Value::Tuple(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(items)
            }
            b's' => {
                let pair = self.pop_last(2)?;
                self.set(&pair)
            }
            b'u' => {
                let pairs = self.since_mark()?;
                self.set(&pairs)
            }
            b'q' => self.take_array().and_then(|[number]| self.keep(number.into())),
            b'r' => self.take_array().and_then(|number| self.keep(u32::from_le_bytes(number) as usize)),
            0x94 => self.keep(self.memo.len()),
            b'h' => self.take_array().and_then(|[number]| self.recall(number.into())),
            b'j' => self.take_array().and_then(|number| self.recall(u32::from_le_bytes(number) as usize)),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(module, name))
            }
            0x93 => {
                let names = self.pop_last(2)?;
                let (Some(module), Some(name)) = (self.text(names[0]), self.text(names[1])) else {
                    return Err(format!("byte {place}: a name that is no text"));
                };
                self.push(Value::Global(module, name))
            }
            b'R' => {
                let parts = self.pop_last(2)?;
                self.push(Value::Reduced { callable: parts[0], arguments: parts[1], state: None })
            }
            b'b' => self.build(place),
            other => {
                Err(format!("byte {place}: the opcode {other:#04x}, which batches of CIFAR do not have"))
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| format!("truncated: it ends after {} bytes", self.bytes.len()))?;
        self.at += length;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut taken = [0; N];
        taken.copy_from_slice(self.take(N)?);
        Ok(taken)
    }

    fn line(&mut self) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        let line = self.take(length)?;
        self.take(1).map(|_| line)
    }

    /// A text whose length stands before it in so many bytes.
    fn text_of(&mut self, bytes: usize) -> Result<(), String> {
        let length =
            self.take(bytes)?.iter().rev().fold(0_u64, |length, &byte| length << 8 | u64::from(byte));
        let text = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        self.push(Value::Text(text))
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), String> {
        self.stack.push(self.values.len());
        self.values.push(value);
        self.bounded()
    }

    /// Nothing grows beyond the number of values.
    fn bounded(&self) -> Result<(), String> {
        let most = self.values.len().max(self.stack.len()).max(self.memo.len()).max(self.marks.len());
        if most <= MAX_VALUES { Ok(()) } else { Err(format!("it has more than {MAX_VALUES} values")) }
    }

    fn mark(&mut self) -> Result<(), String> {
        self.marks.push(self.stack.len());
        self.bounded()
    }

    fn pop(&mut self) -> Result<usize, String> {
        Ok(self.pop_last(1)?[0])
    }

    fn pop_last(&mut self, count: usize) -> Result<Vec<usize>, String> {
        let from = self.stack.len().checked_sub(count);
        let from = from.filter(|from| self.marks.last().is_none_or(|mark| mark <= from));
        let from = from.ok_or_else(|| format!("byte {}: a value is missing", self.at))?;
        Ok(self.stack.split_off(from))
    }

    fn since_mark(&mut self) -> Result<Vec<usize>, String> {
        let mark = self.marks.pop().ok_or_else(|| format!("byte {}: a mark is missing", self.at))?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&mut self) -> Result<&mut Value<'a>, String> {
        let at = self.at;
        let top = self.stack.last().ok_or_else(|| format!("byte {at}: a value is missing"))?;
        Ok(&mut self.values[*top])
    }

    fn append(&mut self, items: Vec<usize>) -> Result<(), String> {
        let at = self.at;
        match self.top()? {
            Value::List(list) => {
                list.extend(items);
                Ok(())
            }
            _ => Err(format!("byte {at}: items of something that is no list")),
        }
    }

    fn set(&mut self, pairs: &[usize]) -> Result<(), String> {
        let at = self.at;
        match self.top()? {
            Value::Dict(dict) => {
                dict.extend(pairs.as_chunks::<2>().0.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            _ => Err(format!("byte {at}: entries of something that is no dictionary")),
        }
    }

    fn build(&mut self, place: usize) -> Result<(), String> {
        let given = self.pop()?;
        match self.top()? {
            Value::Reduced { state, .. } => {
                *state = Some(given);
                Ok(())
            }
            _ => Err(format!("byte {place}: a state for something that has none")),
        }
    }

    fn keep(&mut self, number: usize) -> Result<(), String> {
        let top = *self.stack.last().ok_or_else(|| format!("byte {}: a value is missing", self.at))?;
        self.memo.insert(number, top);
        self.bounded()
    }

    fn recall(&mut self, number: usize) -> Result<(), String> {
        let known = self.memo.get(&number);
        let known = known.ok_or_else(|| format!("byte {}: a value is missing", self.at))?;
        self.stack.push(*known);
        self.bounded()
    }
}
