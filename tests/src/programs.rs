//! The programs under test. Cargo builds them before the tests of this package and puts them in the parent of the
//! tests' folder, where the library that all tests share can find them; the variables with their paths exist in the
//! tests' own crates only.

use std::sync::LazyLock;

/// `lookbehind-coordinator`, with failure points.
pub fn coordinator() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| path_of("test-coordinator"));
    &PATH
}

/// `lookbehind-worker`.
pub fn worker() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| path_of("test-worker"));
    &PATH
}

/// `lookbehind`.
pub fn lookbehind() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| path_of("test-lookbehind"));
    &PATH
}

fn path_of(program: &str) -> String {
    let test = std::env::current_exe().expect("a test knows its own path");
    // …/release/deps/TEST-HASH
    let folder = test.parent().and_then(|deps| deps.parent()).expect("tests are two folders deep");
    let path = folder.join(program);
    assert!(path.is_file(), "{}: not there; `cargo test -p lookbehind-tests` builds it", path.display());
    path.into_os_string().into_string().expect("the path of the target folder is UTF-8")
}
