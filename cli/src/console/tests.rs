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
