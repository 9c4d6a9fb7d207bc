use super::*;

#[test]
fn columns_are_aligned_and_lines_end_without_spaces() {
    let mut table = Table::new(&["ID", "NAME", "NOTE"]);
    table.row(["j1".to_owned(), "größer".to_owned(), String::new()]);
    table.row(["j123".to_owned(), "b".to_owned(), "c".to_owned()]);
    assert_eq!(table.lines(), ["ID    NAME    NOTE", "j1    größer", "j123  b       c"]);
}

#[test]
fn cells_cannot_break_the_table() {
    let mut table = Table::new(&["NAME"]);
    table.row(["a\nb\u{1b}[2J".to_owned()]);
    assert_eq!(table.lines(), ["NAME", "a\\nb\\u{1b}[2J"]);
}
