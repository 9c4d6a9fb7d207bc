use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;

/// Log lines kept in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The output for a worker's line, one of a lower level and one of a module that the filter does not select.
fn written(format: LogFormat, directives: &str) -> String {
    written_through(format, filter(directives).unwrap())
}

fn written_through(format: LogFormat, filter: EnvFilter) -> String {
    let kept = Kept::default();
    let writer = kept.clone();
    let subscriber = subscriber(format, filter, false, move || writer.clone());
    tracing::dispatcher::with_default(&subscriber, || {
        tracing::info!(worker = "first", shard = 7, "computed");
        tracing::debug!("not asked for");
        tracing::info!(target: "elsewhere", "not asked for");
        tracing::warn!(target: "h2::proto::streams::streams", "a stream was reset");
    });
    String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn a_line_for_programs_has_its_fields_next_to_the_message() {
    let text = written(LogFormat::Json, "info,elsewhere=off");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [line] = lines.as_slice() else { panic!("expected one line, found {text}") };
    assert_eq!(line["message"], "computed");
    assert_eq!(line["worker"], "first");
    assert_eq!(line["shard"], 7);
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["target"], module_path!());
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
}

#[test]
fn a_line_for_people_is_one_line_without_colours() {
    let text = written(LogFormat::Text, "info,elsewhere=off");
    assert!(text.trim_end().ends_with("computed worker=\"first\" shard=7"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn a_filter_that_cannot_be_understood_is_refused_with_what_it_says() {
    for value in ["infoo", "info,debugg", "a=b=c", "info,lookbehind=loud"] {
        let error = filter(value).unwrap_err().to_string();
        assert!(error.starts_with(&format!("LOOKBEHIND_LOG={value:?}: expected a level")), "{error}");
    }
}

#[test]
fn levels_by_module_are_understood() {
    for value in ["info", "off", " WARN ", "info,lookbehind_worker=debug", "warn,tonic::transport=off,", "3"]
    {
        filter(value).unwrap();
    }
}

#[test]
fn resets_of_clients_reach_the_log_only_if_they_are_asked_for() {
    let lines = |filter| written_through(LogFormat::Text, filter).lines().count();
    assert_eq!(lines(filter("info,elsewhere=off").unwrap()), 1);
    assert_eq!(lines(filter("info,elsewhere=off,h2=warn").unwrap()), 2);
}
