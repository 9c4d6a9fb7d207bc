use super::*;
use crate::exit::Exit;

struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_who_has_gone_is_no_panic() {
    let error = Console::to(false, Broken(io::ErrorKind::BrokenPipe)).result("line").unwrap_err();
    assert_eq!(error.exit(), Exit::BrokenPipe);
}

#[test]
fn a_full_disk_is_told_from_a_reader_who_has_gone() {
    let error = Console::to(false, Broken(io::ErrorKind::StorageFull)).result("line").unwrap_err();
    assert_eq!(error.exit(), Exit::Output);
}

#[test]
fn a_filter_that_makes_no_sense_is_wrong_usage() {
    let error = Console::new(true).start_logs("lookbehind=nonsense=x").unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
}

/// An output that a test can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn nothing_that_is_quoted_acts_on_the_terminal() {
    const FOREIGN: &str = "a\u{1b}[2J\u{9b}2J\u{7f}\u{202e}\u{2066}\u{200b}b";
    let out = Shared::default();
    let console = Console::to(true, out.clone());
    console.result(FOREIGN).unwrap();
    console.object(&[FOREIGN]).unwrap();
    let written = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines[0], "a\\u{1b}[2J\\u{9b}2J\\u{7f}\\u{202e}\\u{2066}\\u{200b}b");
    assert_eq!(lines[1], "[\"a\\u001b[2J\\u009b2J\\u007f\\u202e\\u2066\\u200bb\"]");
    assert_eq!(
        serde_json::from_str::<[String; 1]>(lines[1]).unwrap(),
        [FOREIGN],
        "programs read the same text"
    );
}
