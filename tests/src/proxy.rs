//! A proxy between a coordinator and its clients, with which a test cuts connections, refuses new ones, holds back what
//! one side sends, and delays the traffic.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::within;

/// Most bytes that are forwarded at a time.
const PIECE: usize = 64 << 10;

/// Direction of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the coordinator.
    Up,
    /// From the coordinator to the client.
    Down,
}

/// One of the open connections.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// The one that has carried the most bytes: a worker's tensors.
    Busiest,
    /// The one that has carried the fewest bytes: a worker's control messages.
    Quietest,
}

/// How connections and bytes are treated.
#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    refusing: bool,
    held_up: bool,
    held_down: bool,
    delay: Duration,
    /// Bytes that a connection carries from the client before it is reset.
    most_up: Option<u64>,
}

impl Rules {
    fn holds(&self, direction: Direction) -> bool {
        match direction {
            Direction::Up => self.held_up,
            Direction::Down => self.held_down,
        }
    }
}

/// An open connection.
#[derive(Clone, Debug, Default)]
struct Line {
    cut: CancellationToken,
    carried: Arc<AtomicU64>,
}

/// Open connections by their number.
type Lines = Arc<Mutex<BTreeMap<u64, Line>>>;

fn lock(lines: &Lines) -> MutexGuard<'_, BTreeMap<u64, Line>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A proxy for one coordinator. Dropping it resets all connections.
pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    lines: Lines,
    accepted: watch::Receiver<u64>,
    _end: DropGuard,
}

impl Proxy {
    /// A proxy for the coordinator at `http://HOST:PORT`, on a free port of the loopback interface.
    ///
    /// # Panics
    /// If the address has another form or no port is free.
    pub async fn new(coordinator: &str) -> Self {
        let target = coordinator.strip_prefix("http://").expect("http://HOST:PORT").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (rules, obeyed) = watch::channel(Rules::default());
        let (count, accepted) = watch::channel(0);
        let (lines, end) = (Lines::default(), CancellationToken::new());
        let serving = serve(listener, target, obeyed, Arc::clone(&lines), count);
        tokio::spawn(end.clone().run_until_cancelled_owned(serving));
        Self { address, rules, lines, accepted, _end: end.drop_guard() }
    }

    /// Address of the proxy.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Resets all open connections.
    pub fn cut_all(&self) {
        lock(&self.lines).values().for_each(|line| line.cut.cancel());
    }

    /// Resets one of the open connections.
    pub fn cut(&self, which: Which) {
        let lines = lock(&self.lines);
        let carried = |line: &&Line| line.carried.load(Ordering::Relaxed);
        let line = match which {
            Which::Busiest => lines.values().max_by_key(carried),
            Which::Quietest => lines.values().min_by_key(carried),
        };
        line.inspect(|line| line.cut.cancel());
    }

    /// Resets all connections, and from now on new ones as soon as they are accepted; returns how many were accepted
    /// before.
    pub fn refuse_all(&self) -> u64 {
        self.refuse(true);
        self.cut_all();
        *self.accepted.borrow()
    }

    /// Sets whether new connections are reset as soon as they are accepted.
    pub fn refuse(&self, refusing: bool) {
        self.rules.send_modify(|rules| rules.refusing = refusing);
    }

    /// Holds back everything in one direction, like a network that loses every packet; what was held back arrives when
    /// this ends.
    pub fn hold(&self, direction: Direction, hold: bool) {
        self.rules.send_modify(|rules| match direction {
            Direction::Up => rules.held_up = hold,
            Direction::Down => rules.held_down = hold,
        });
    }

    /// Resets each connection when it has carried this many bytes from the client.
    pub fn cut_after(&self, bytes: u64) {
        self.rules.send_modify(|rules| rules.most_up = Some(bytes));
    }

    /// Delays every piece of data by `delay`.
    pub fn delay(&self, delay: Duration) {
        self.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Waits until `connections` connections have been accepted in total.
    ///
    /// # Panics
    /// If they are not.
    pub async fn accepted(&self, connections: u64) {
        let mut accepted = self.accepted.clone();
        let come = accepted.wait_for(|accepted| *accepted >= connections);
        within(&format!("connection {connections}"), come).await.expect("a proxy that serves");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut_all();
    }
}

async fn serve(
    listener: TcpListener,
    target: String,
    rules: watch::Receiver<Rules>,
    lines: Lines,
    count: watch::Sender<u64>,
) {
    for number in 1.. {
        let Ok((near, _)) = listener.accept().await else { return };
        if rules.borrow().refusing {
            // With zero linger the connection is reset instead of closed normally.
            let _ = near.set_zero_linger();
        } else {
            let line = Line::default();
            lock(&lines).insert(number, line.clone());
            let (target, rules, lines) = (target.clone(), rules.clone(), Arc::clone(&lines));
            tokio::spawn(async move {
                // Errors need no report: either side sees the end of its own connection.
                let _ = carry(near, &target, &rules, &line).await;
                lock(&lines).remove(&number);
            });
        }
        count.send_replace(number);
    }
}

/// Carries one connection until both sides have ended it; resets it when it is cut or one side resets it.
async fn carry(
    mut near: TcpStream,
    target: &str,
    rules: &watch::Receiver<Rules>,
    line: &Line,
) -> io::Result<()> {
    let mut far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
    let up = pass(near_in, far_out, rules.clone(), Direction::Up, &line.carried);
    let down = pass(far_in, near_out, rules.clone(), Direction::Down, &line.carried);
    let both = async { tokio::try_join!(up, down) };
    if !matches!(line.cut.run_until_cancelled(both).await, Some(Ok(_))) {
        near.set_zero_linger()?;
        far.set_zero_linger()?;
    }
    Ok(())
}

/// Forwards bytes in one direction until they end.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut rules: watch::Receiver<Rules>,
    direction: Direction,
    carried: &AtomicU64,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut passed = 0;
    loop {
        let length = from.read(&mut piece).await?;
        passed += length as u64;
        let most = rules.borrow().most_up.filter(|_| direction == Direction::Up);
        if most.is_some_and(|most| passed > most) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let free = rules.wait_for(|rules| !rules.holds(direction)).await.map(|rules| rules.delay);
        let delay = free.map_err(|_| io::ErrorKind::ConnectionAborted)?;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(piece.get(..length).unwrap_or_default()).await?;
        carried.fetch_add(length as u64, Ordering::Relaxed);
    }
}
