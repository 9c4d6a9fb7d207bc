//! Tables in Parquet that pandas, pyarrow, Polars and DuckDB wrote.

use lookbehind_data::DataEnvironment;
use serde_json::json;

use super::{Sample, fixtures, load, samples};

fn expected() -> Vec<Sample> {
    let of = |row: usize| {
        let row = row % 4;
        let inputs = vec![[1.5, 3.0, -2.25, 0.0][row], [-2.0, 4.0, 7.0, 1.0][row], [1.0, 0.0, 1.0, 1.0][row]];
        (inputs, [0, 1, 0, 2][row])
    };
    (0..12).map(of).collect()
}

#[test]
fn the_same_table_of_every_program_gives_the_same_samples() {
    let environment = DataEnvironment::local(fixtures("parquet"), 1 << 30);
    for file in [
        // Dictionaries; a named index beside the data, and a categorical label.
        "pandas-index-categorical.parquet",
        "pandas-gzip.parquet",
        "pandas-brotli.parquet",
        // BYTE_STREAM_SPLIT, DELTA_BINARY_PACKED, RLE and DELTA_BYTE_ARRAY in pages of the second version, zstandard.
        "pyarrow-v2-delta.parquet",
        "pyarrow-lz4.parquet",
        // Categories and enumerations.
        "polars-zstd.parquet",
        "polars-lz4.parquet",
        // DECIMAL, HUGEINT and ENUM.
        "duckdb-v1.parquet",
        // BYTE_STREAM_SPLIT, DELTA_BINARY_PACKED and DELTA_LENGTH_BYTE_ARRAY.
        "duckdb-v2-gzip.parquet",
        "duckdb-v2-lz4.parquet",
    ] {
        let data = load("parquet", &json!({ "train": file }), &environment)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(samples(data.as_ref()), expected(), "{file}");
        assert_eq!(data.report().class_names, ["ant", "bee", "cat"], "{file}");
    }
}
