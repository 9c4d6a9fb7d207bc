//! PyTorch on the same hosts.

use std::process::{Child, Stdio};

use lookbehind_tests::bench::{Failure, Host, Hosts, INTERFACE, Placement, Samples};

use crate::Options;

pub(crate) fn python() -> String {
    std::env::var("LOOKBEHIND_PEER_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// Seconds of gloo's all-reduces between the hosts of the workers; empty if torch is not installed.
pub(crate) fn gloo_all_reduces(
    hosts: &Hosts,
    placement: Placement,
    workers: usize,
    options: &Options,
) -> Result<Samples, Failure> {
    let arguments = [workers, options.parameters, options.gradients as usize];
    ranks(hosts, placement, workers, "gloo_allreduce.py", &arguments)
}

/// What the ranks of a script of PyTorch print, on the hosts of the workers; empty if torch is not installed.
pub(crate) fn ranks(
    hosts: &Hosts,
    placement: Placement,
    workers: usize,
    script: &str,
    arguments: &[usize],
) -> Result<Samples, Failure> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store");
    let script = format!("{}/python/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut ranks = Vec::new();
    for rank in 0..workers {
        let mut command = Host::command(hosts.get(placement.first_worker() + rank)?, python());
        command.arg(&script).args(arguments.iter().chain([&rank]).map(usize::to_string)).arg(&store);
        command.env("GLOO_SOCKET_IFNAME", INTERFACE);
        ranks.push(Rank(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?));
    }
    let mut samples = Samples::default();
    for Rank(rank) in &mut ranks {
        let mut text = String::new();
        if let Some(stdout) = &mut rank.stdout {
            std::io::Read::read_to_string(stdout, &mut text)?;
        }
        if !rank.wait()?.success() {
            return Ok(Samples::default());
        }
        samples.append(text.lines().filter_map(|line| line.parse().ok()).collect());
    }
    Ok(samples)
}

/// One of gloo's processes; it ends when this is dropped.
struct Rank(Child);

impl Drop for Rank {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
