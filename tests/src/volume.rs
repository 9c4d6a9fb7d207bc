//! A small file system that is only visible to the processes inside it: memory mounted in a mount namespace of its own.
//! This needs no privileges where the system allows user namespaces, and otherwise those of root.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::process::Process;
use tempfile::TempDir;

/// Mounts the file system, reports it, and keeps the namespace alive.
const MOUNT: &str = "mount -t tmpfs -o size=$1 lookbehind \"$2\" && echo mounted && exec tail -f /dev/null";
/// With a user namespace if that is allowed, otherwise with the privileges of root.
const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];

/// The file system, which exists until this is dropped.
pub struct Volume {
    holder: Process,
    folder: TempDir,
    way: &'static [&'static str],
}

impl Volume {
    /// Mounts a file system of `size` bytes, written as for mount(8).
    ///
    /// # Panics
    /// If the system permits neither way.
    pub async fn new(size: &str) -> Self {
        let folder = TempDir::with_prefix("lookbehind-volume-").unwrap();
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        let mut said = Vec::new();
        for way in WAYS {
            let disk = folder.path().join("disk");
            let args = [way, &["sh", "-c", MOUNT, "sh", size, disk.to_str().unwrap()]].concat();
            let mut holder = Process::start("unshare", &args, folder.path(), "holder");
            if holder.prints("mounted").await {
                return Self { holder, folder, way };
            }
            said.push(holder.stderr());
        }
        panic!("no file system can be mounted here: {said:?}");
    }

    /// Starts a program inside the namespace, as [`Process::start`] does outside.
    pub fn start(&self, program: &str, args: &[&str], folder: &Path, name: &str) -> Process {
        let holder = self.holder.id().to_string();
        let user: &[&str] =
            if self.way.contains(&"--user") { &["--user", "--preserve-credentials"] } else { &[] };
        let enter = [&["--target", &holder, "--mount"], user, &["--", program], args].concat();
        Process::start("nsenter", &enter, folder, name)
    }

    /// Path of the state folder, for programs inside the namespace.
    pub fn state(&self) -> String {
        self.folder.path().join("disk/state").to_str().unwrap().to_owned()
    }

    /// Path of a file on the file system, for programs outside the namespace.
    pub fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.path().join("disk").strip_prefix("/").unwrap()).join(name)
    }

    /// Fills all free space.
    pub fn fill(&self) {
        self.fill_but(0);
    }

    /// Fills all free space except `left` bytes.
    pub fn fill_but(&self, left: u64) {
        let mut file = File::create(self.path("filler")).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(left)).unwrap();
    }

    /// Frees the space again.
    pub fn free(&self) {
        std::fs::remove_file(self.path("filler")).unwrap();
    }

    /// Makes the file system read-only.
    pub async fn make_read_only(&self) {
        let disk = self.folder.path().join("disk");
        let args = ["-o", "remount,ro", disk.to_str().unwrap()];
        let mut remount = self.start("mount", &args, self.folder.path(), "remount");
        assert_eq!(remount.exit().await, 0, "{}", remount.stderr());
    }
}
