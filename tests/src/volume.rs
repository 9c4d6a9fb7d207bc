//! A small file system that only the processes inside it see: memory mounted in a mount namespace of its own, which
//! needs no rights where the system lets users have namespaces, and those of root where it does not.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::process::Process;
use tempfile::TempDir;

/// Mounts, says so, and holds the namespace open.
const MOUNT: &str = "mount -t tmpfs -o size=$1 lookbehind \"$2\" && echo mounted && exec tail -f /dev/null";
/// Namespaces of a user, then those of root.
const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];

/// The file system, for as long as it lives.
pub struct Volume {
    holder: Process,
    folder: TempDir,
    way: &'static [&'static str],
}

impl Volume {
    /// Mounts one of so many bytes, as mount(8) writes them.
    ///
    /// # Panics
    /// When the system allows neither way.
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

    /// Starts a program inside, as [`Process::start`] does outside.
    pub fn start(&self, program: &str, args: &[&str], folder: &Path, name: &str) -> Process {
        let holder = self.holder.id().to_string();
        let user: &[&str] =
            if self.way.contains(&"--user") { &["--user", "--preserve-credentials"] } else { &[] };
        let enter = [&["--target", &holder, "--mount"], user, &["--", program], args].concat();
        Process::start("nsenter", &enter, folder, name)
    }

    /// The state folder, as those inside name it.
    pub fn state(&self) -> String {
        self.folder.path().join("disk/state").to_str().unwrap().to_owned()
    }

    /// Something on the file system, as those outside reach it.
    pub fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.path().join("disk").strip_prefix("/").unwrap()).join(name)
    }

    /// Takes all room that is left.
    pub fn fill(&self) {
        self.fill_but(0);
    }

    /// Takes all room that is left but for so many bytes.
    pub fn fill_but(&self, left: u64) {
        let mut file = File::create(self.path("filler")).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(left)).unwrap();
    }

    /// Gives the room back.
    pub fn free(&self) {
        std::fs::remove_file(self.path("filler")).unwrap();
    }

    /// Lets nobody write any more.
    pub async fn make_read_only(&self) {
        let disk = self.folder.path().join("disk");
        let args = ["-o", "remount,ro", disk.to_str().unwrap()];
        let mut remount = self.start("mount", &args, self.folder.path(), "remount");
        assert_eq!(remount.exit().await, 0, "{}", remount.stderr());
    }
}
