//! Finds columns that only count the rows: a model would learn the order of the file.

/// Rows from which on a column that counts them is no chance.
const ROWS: u64 = 10;

/// The inputs that count the rows, as far as they have been read.
#[derive(Default)]
pub(super) struct Counting {
    rows: u64,
    /// Places of the columns that still do, with the value of the row before; those of the first row are all columns.
    columns: Option<Vec<(usize, f32)>>,
    /// Whether the next row is the first of its file, where the numbers may begin again.
    begins: bool,
}

impl Counting {
    /// Another file begins.
    pub(super) fn begin_file(&mut self) {
        self.begins = true;
    }

    /// Takes the numbers of a row; those at `inputs` are inputs.
    pub(super) fn row(&mut self, inputs: &[usize], values: &[f32]) {
        self.rows += 1;
        let begins = std::mem::take(&mut self.begins);
        match &mut self.columns {
            None => self.columns = Some(inputs.iter().map(|&place| (place, values[place])).collect()),
            Some(columns) => columns.retain_mut(|(place, before)| {
                let now = values[*place];
                let counts = begins || now == *before + 1.0;
                *before = now;
                counts
            }),
        }
    }

    /// The first column that counted all rows.
    pub(super) fn found(&self) -> Option<usize> {
        let column = self.columns.as_ref()?.first().map(|&(place, _)| place);
        column.filter(|_| self.rows >= ROWS)
    }
}
