//! Hosts of one machine, each behind a link of limited rate: a network namespace for each host, and a pair of virtual
//! Ethernet devices from it to a bridge, which is in a namespace of its own. A token bucket at both ends of each pair
//! limits both directions.
//!
//! No namespace has a name. Each is held by a process that ends when its standard input does, so nothing is left behind
//! however the benchmark ends.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use super::Failure;

/// Name of the interface of each host.
pub const INTERFACE: &str = "eth0";
/// Bits per second in a megabit per second.
const MEGABIT: f64 = 1e6;
/// What a token bucket may send at once, as the time that its rate takes for it, and at least this many bytes: a packet
/// that the kernel has not cut up has 64 KiB.
const BURST_SECONDS: f64 = 0.008;
const LEAST_BURST: f64 = 131_072.0;

/// This machine or this user may not make hosts.
#[derive(Debug)]
pub struct Unavailable(String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no hosts behind links here: {}", self.0)
    }
}

impl std::error::Error for Unavailable {}

/// A namespace, which lasts until this is dropped and no other process is in it.
struct Namespace(Child);

impl Namespace {
    fn create() -> Result<Self, Failure> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo ready; exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| Unavailable(format!("unshare cannot be run: {error}")))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let mut namespace = Self(child);
        if line.is_empty() {
            let mut reason = String::new();
            if let Some(stderr) = &mut namespace.0.stderr {
                stderr.read_to_string(&mut reason)?;
            }
            return Err(Unavailable(format!("{} (root may make them)", reason.trim())).into());
        }
        Ok(namespace)
    }

    /// A command to be run in the namespace.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.0.id())).arg("--").arg(program);
        command
    }

    /// Has `ip` or `tc` carry out lines of arguments in the namespace.
    fn batch(&self, program: &str, lines: &[String]) -> Result<(), Failure> {
        let mut command = self.command(program);
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| Unavailable(format!("nsenter cannot be run: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // If it fails, the program has ended, and says why.
            let _ = stdin.write_all((lines.join("\n") + "\n").as_bytes());
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        let reason = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(Unavailable(format!("{program}: {reason}")).into())
    }

    /// Packets that the queues in the namespace have dropped.
    fn dropped(&self) -> Result<u64, Failure> {
        let output = self.command("tc").args(["-s", "qdisc"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let counts = text.split("dropped ").skip(1).map(|rest| rest.split(',').next().unwrap_or_default());
        Ok(counts.map(str::parse::<u64>).sum::<Result<u64, _>>()?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Waiting closes the standard input first, which ends the process.
        let _ = self.0.wait();
    }
}

/// A host.
pub struct Host {
    namespace: Namespace,
    /// Address of its interface.
    pub address: Ipv4Addr,
}

impl Host {
    /// A command to be run on the host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.namespace.command(program)
    }

    /// Bytes that its interface has received and sent.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn traffic(&self) -> Result<(u64, u64), Failure> {
        self.counters().read()
    }

    /// The counters of its interface.
    pub(super) fn counters(&self) -> Counters {
        Counters(format!("/proc/{}/net/dev", self.namespace.0.id()))
    }

    /// Packets that the link's sending end has dropped because its queue was full.
    fn dropped(&self) -> Result<u64, Failure> {
        self.namespace.dropped()
    }
}

/// The file in which the system counts what a host's interface has received and sent.
pub(super) struct Counters(String);

impl Counters {
    /// Bytes that were received and sent.
    pub(super) fn read(&self) -> Result<(u64, u64), Failure> {
        let table = std::fs::read_to_string(&self.0)?;
        let prefix = format!("{INTERFACE}:");
        let line = table.lines().find_map(|line| line.trim().strip_prefix(&prefix)).ok_or("no interface")?;
        let fields: Vec<&str> = line.split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|text| text.parse().ok()).ok_or("no counter");
        Ok((field(0)?, field(8)?))
    }
}

/// Hosts that reach each other through one bridge.
pub struct Hosts {
    hosts: Vec<Host>,
    bridge: Namespace,
}

impl Hosts {
    /// One host for each of `rates`: the rate of its link in megabits per second, in each direction.
    ///
    /// # Errors
    /// [`Unavailable`] if namespaces, devices or token buckets cannot be made.
    pub fn new(rates: &[f64]) -> Result<Self, Failure> {
        let bridge = Namespace::create()?;
        bridge.batch("ip", &["link add bridge type bridge".into(), "link set bridge up".into()])?;
        let mut hosts = Vec::new();
        for (number, rate) in rates.iter().enumerate() {
            let namespace = Namespace::create()?;
            let address = Ipv4Addr::new(10, 77, 0, u8::try_from(number + 1)?);
            let (port, holder) = (port(number), namespace.0.id());
            let near = [
                format!("link add {port} type veth peer name {INTERFACE} netns {holder}"),
                format!("link set {port} master bridge"),
                format!("link set {port} up"),
            ];
            bridge.batch("ip", &near)?;
            let far = [
                "link set lo up".to_owned(),
                format!("addr add {address}/24 dev {INTERFACE}"),
                format!("link set {INTERFACE} up"),
            ];
            namespace.batch("ip", &far)?;
            bridge.batch("tc", &[token_bucket(&port, *rate)])?;
            namespace.batch("tc", &[token_bucket(INTERFACE, *rate)])?;
            hosts.push(Host { namespace, address });
        }
        Ok(Self { hosts, bridge })
    }

    /// Gives the link of a host another rate.
    ///
    /// # Errors
    /// If there is no such host, or its token buckets cannot be changed.
    pub fn set_rate(&self, index: usize, rate: f64) -> Result<(), Failure> {
        let host = self.get(index)?;
        self.bridge.batch("tc", &[token_bucket(&port(index), rate)])?;
        host.namespace.batch("tc", &[token_bucket(INTERFACE, rate)])
    }

    /// The hosts, in the order of the rates.
    pub(super) fn all(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter()
    }

    /// Packets that all links together have dropped because a queue was full.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn dropped(&self) -> Result<u64, Failure> {
        self.hosts.iter().try_fold(self.bridge.dropped()?, |sum, host| Ok(sum + host.dropped()?))
    }

    /// A host by its index in the rates.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn get(&self, index: usize) -> Result<&Host, Failure> {
        Ok(self.hosts.get(index).ok_or("no such host")?)
    }
}

/// The name of the bridge's port for a host.
fn port(index: usize) -> String {
    format!("port{index}")
}

fn token_bucket(device: &str, rate: f64) -> String {
    let bits = rate * MEGABIT;
    let burst = (bits / 8.0 * BURST_SECONDS).max(LEAST_BURST);
    format!("qdisc replace dev {device} root tbf rate {bits:.0}bit burst {burst:.0} latency 100ms")
}
