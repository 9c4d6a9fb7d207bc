use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::SchemaDescriptor;
use std::sync::Arc;

use super::*;

fn columns(schema: &str) -> Vec<(usize, String, Kind, i16)> {
    let schema = parse_message_type(&format!("message schema {{ {schema} }}")).unwrap();
    let found = leaves(&SchemaDescriptor::new(Arc::new(schema)));
    found.into_iter().map(|leaf| (leaf.index, leaf.name, leaf.kind, leaf.lists)).collect()
}

#[test]
fn fields_of_groups_have_both_names_and_files_that_of_the_group() {
    let found = columns(
        "required int32 a; optional group b { optional double c; optional group d { required boolean e; } }
         optional group image { optional binary bytes; optional binary path (UTF8); } required binary f (UTF8);",
    );
    let expected = [
        (0, "a", Kind::Whole, 0),
        (1, "b.c", Kind::Number, 0),
        (2, "b.d.e", Kind::Truth, 0),
        (3, "image", Kind::Binary, 0),
        (5, "f", Kind::Text, 0),
    ];
    assert_eq!(found, expected.map(|(index, name, kind, lists)| (index, name.to_owned(), kind, lists)));
}

#[test]
fn lists_have_the_name_of_their_column_however_they_are_written() {
    for list in [
        "optional group x (LIST) { repeated group list { optional int32 element; } }",
        "optional group x (LIST) { repeated group bag { optional int32 array_element; } }",
        "optional group x (LIST) { repeated int32 array; }",
        "repeated int32 x;",
    ] {
        assert_eq!(columns(list), [(0, "x".to_owned(), Kind::Whole, 1)], "{list}");
    }
    let images = "optional group x (LIST) { repeated group list { optional group element {
        optional binary bytes; optional binary path (UTF8); } } } required int64 label;";
    let expected = [(0, "x".to_owned(), Kind::Binary, 1), (2, "label".to_owned(), Kind::Whole, 0)];
    assert_eq!(columns(images), expected);
}
