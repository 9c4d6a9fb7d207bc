//! Writes image data sets in Parquet with the schema of the Hugging Face hub.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// A group of bytes and path, and a label; all of them may be null.
pub(crate) const HUB: &str = "message schema {
    optional group img { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";

/// A row: the bytes of an image, and a label.
pub(crate) type Row = (Option<Vec<u8>>, Option<i64>);

/// Writes rows in groups of `group` with the schema [`HUB`] or another one of the same three columns.
pub(crate) fn write(path: &Path, schema: &str, compression: Compression, group: usize, rows: &[Row]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(group) {
        let mut columns = writer.next_row_group().unwrap();
        let images: Vec<ByteArray> =
            rows.iter().filter_map(|row| row.0.clone()).map(ByteArray::from).collect();
        // Definition levels: 2 if the bytes are there, 1 if the group has no bytes.
        let levels: Vec<i16> = rows.iter().map(|row| if row.0.is_some() { 2 } else { 1 }).collect();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&images, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![1; rows.len()]), None).unwrap();
        column.close().unwrap();
        let labels: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.1.is_some())).collect();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).unwrap();
        column.close().unwrap();
        columns.close().unwrap();
    }
    writer.close().unwrap();
}
