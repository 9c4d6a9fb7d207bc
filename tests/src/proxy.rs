//! A proxy between a coordinator and those who reach it, over which a test cuts connections, refuses new ones, holds
//! back what one side sends, and makes the line slow.

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

/// Bytes that are passed on at a time.
const PIECE: usize = 64 << 10;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connected to the coordinator.
    Up,
    /// From the coordinator to whoever connected.
    Down,
}

/// Which of the open connections.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// The one that carried most: a worker's tensors.
    Busiest,
    /// The one that carried least: a worker's control messages.
    Quietest,
}

/// What happens to connections and bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    refusing: bool,
    held_up: bool,
    held_down: bool,
    delay: Duration,
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

/// A proxy for one coordinator. Dropping it cuts everything.
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
    /// When the address is of another form or no port is free.
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

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Resets all connections that are open.
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

    /// Resets all connections, and new ones at once; returns how many were accepted before.
    pub fn refuse_all(&self) -> u64 {
        self.refuse(true);
        self.cut_all();
        *self.accepted.borrow()
    }

    /// Whether new connections are reset at once.
    pub fn refuse(&self, refusing: bool) {
        self.rules.send_modify(|rules| rules.refusing = refusing);
    }

    /// Holds back all that goes in one direction, as a network does that loses every packet; what was held back
    /// arrives when this ends.
    pub fn hold(&self, direction: Direction, hold: bool) {
        self.rules.send_modify(|rules| match direction {
            Direction::Up => rules.held_up = hold,
            Direction::Down => rules.held_down = hold,
        });
    }

    /// Lets every piece of data take so much longer.
    pub fn delay(&self, delay: Duration) {
        self.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Waits until so many connections were accepted altogether.
    ///
    /// # Panics
    /// When they do not come.
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
            // The connection is reset, not closed in order.
            let _ = near.set_zero_linger();
        } else {
            let line = Line::default();
            lock(&lines).insert(number, line.clone());
            let (target, rules, lines) = (target.clone(), rules.clone(), Arc::clone(&lines));
            tokio::spawn(async move {
                // Either side sees the end of its own connection.
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

/// Passes bytes on in one direction until they end.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut rules: watch::Receiver<Rules>,
    direction: Direction,
    carried: &AtomicU64,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
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
