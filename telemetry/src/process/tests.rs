use super::*;

const UNITS: Units = Units { page_bytes: 4096, ticks_per_second: 100.0 };

#[test]
fn a_name_with_spaces_and_parentheses_shifts_no_field() {
    let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 4 0 12345 1000000 250 18446744073709551615";
    let usage =
        Usage::parse(stat, "244 25 3 1 0 20 0\n", "cpu 1 2 3\nbtime 1700000000\nprocesses 9\n", UNITS);
    let expected =
        Usage { resident_bytes: 25 * 4096, cpu_seconds: 2.0, start_seconds: 1_700_000_000.0 + 123.45 };
    assert_eq!(usage, Some(expected));
}

#[test]
fn what_cannot_be_read_is_left_out() {
    for (stat, statm, system) in
        [("", "1 2", "btime 1"), ("1 (a) S", "1 2", "btime 1"), ("1 (a) S", "", ""), (")", "x y", "btime z")]
    {
        assert_eq!(Usage::parse(stat, statm, system, UNITS), None, "{stat:?} {statm:?} {system:?}");
    }
}

#[test]
fn this_process_has_memory_and_started_in_the_past() {
    let usage = Usage::now().unwrap();
    assert!(usage.resident_bytes > 100 << 10, "{usage:?}");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!(usage.start_seconds > 1e9 && usage.start_seconds < now + 1.0, "{usage:?}");
}
