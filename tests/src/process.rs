//! Programs of the service in processes of their own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use crate::client::within;

/// Interval at which something is polled that announces itself in no other way.
const LOOK: Duration = Duration::from_millis(5);

/// A running program, killed when it is dropped. Its output goes to two files.
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `program` under a `name` that distinguishes its output files in `folder`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(program: &str, args: &[&str], folder: &Path, name: &str) -> Self {
        let (stdout, stderr) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let file = |path: &Path| File::create(path).expect("a writable file");
        let child = Command::new(program)
            .args(args)
            .current_dir(folder)
            .env("NO_COLOR", "1")
            .env_remove("LOOKBEHIND_LOG")
            .stdout(file(&stdout))
            .stderr(file(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        Self { child, stdout, stderr }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most bytes that it has had resident in memory at once.
    ///
    /// # Panics
    /// If it has ended.
    pub fn peak_memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("a running process");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number of kibibytes");
        kibibytes << 10
    }

    /// Its output so far.
    ///
    /// # Panics
    /// If the file is missing.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).expect("its output")
    }

    /// Its log so far.
    ///
    /// # Panics
    /// If the file is missing.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).expect("its log")
    }

    /// Waits until its log contains `words`; returns the rest of the line after them.
    pub async fn logged(&mut self, words: &str) -> String {
        self.wait_for(words, Self::stderr).await
    }

    /// Waits until its output contains `words`; returns the rest of the line after them.
    pub async fn printed(&mut self, words: &str) -> String {
        self.wait_for(words, Self::stdout).await
    }

    /// Waits until its output contains `words`; `false` if it ends before that.
    pub async fn prints(&mut self, words: &str) -> bool {
        self.tells(words, Self::stdout).await.is_some()
    }

    async fn wait_for(&mut self, words: &str, text: fn(&Self) -> String) -> String {
        let found = self.tells(words, text).await;
        found.unwrap_or_else(|| panic!("ended before {words:?}: {}", self.stderr()))
    }

    async fn tells(&mut self, words: &str, text: fn(&Self) -> String) -> Option<String> {
        within(words, async {
            loop {
                let ended = self.child.try_wait().expect("a child");
                if let Some((_, rest)) = text(self).split_once(words)
                    && let Some((line, _)) = rest.split_once('\n')
                {
                    return Some(line.to_owned());
                }
                if ended.is_some() {
                    return None;
                }
                tokio::time::sleep(LOOK).await;
            }
        })
        .await
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().cast_signed()).expect("a process");
        kill_process(id, signal).expect("a running process");
    }

    /// Limits the size of the files that it writes: a write beyond that fails with «File too large», as writes fail on a
    /// broken disk. `None` lifts the limit. It must ignore SIGXFSZ.
    ///
    /// # Panics
    /// If it has ended.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let id = Pid::from_raw(self.child.id().cast_signed());
        let limit = Rlimit { current: bytes, ..getrlimit(Resource::Fsize) };
        prlimit(id, Resource::Fsize, limit).expect("a running process");
    }

    /// Kills it immediately, as on a machine that loses power.
    pub async fn kill(mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Waits for its end and returns its exit code.
    ///
    /// # Panics
    /// If a signal ended it.
    pub async fn exit(&mut self) -> i32 {
        let status = self.ended().await;
        status.code().unwrap_or_else(|| panic!("{status}: {}", self.stderr()))
    }

    /// Waits for its end, whatever the reason.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        within("the end of a process", async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child") {
                    return status;
                }
                tokio::time::sleep(LOOK).await;
            }
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has already ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
