//! Goodput of one TCP stream between two hosts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

use super::hosts::Host;
use super::roles::Role;
use super::{Failure, Samples};

/// Bytes that are written and read at once.
const BLOCK: usize = 1 << 20;
/// Timed transfers, after one that opens the window of the stream.
const REPETITIONS: usize = 3;

/// Bytes per second of a stream from one host to another: the median of transfers of `bytes`, each timed until the
/// receiver has confirmed it.
///
/// # Errors
/// If a process cannot be started, or the stream breaks.
pub fn goodput(from: &Host, to: &Host, bytes: usize) -> Result<f64, Failure> {
    let mut receiver = Role::Receiver(bytes).spawn_on(to)?;
    let port = receiver.line()?;
    let mut sender = Role::Sender(format!("{}:{port} {bytes}", to.address)).spawn_on(from)?;
    let mut seconds = Samples::default();
    for _ in 0..REPETITIONS {
        seconds.push(sender.line()?.parse()?);
    }
    Ok(bytes as f64 / seconds.median())
}

/// Receives transfers of `bytes` on one connection; prints the port first.
pub(super) fn receive(bytes: usize) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    println!("{}", listener.local_addr()?.port());
    let (mut stream, _) = listener.accept()?;
    let mut block = vec![0; BLOCK];
    for _ in 0..=REPETITIONS {
        let mut left = bytes;
        while left > 0 {
            let most = left.min(BLOCK);
            stream.read_exact(&mut block[..most])?;
            left -= most;
        }
        stream.write_all(&[1])?;
    }
    Ok(())
}

/// Sends transfers to the address and of the length that `argument` names; prints the seconds of each but the first.
pub(super) fn send(argument: &str) -> Result<(), Failure> {
    let (address, bytes) = argument.split_once(' ').ok_or("expected address and length")?;
    let bytes: usize = bytes.parse()?;
    let mut stream = TcpStream::connect(address)?;
    let mut confirmations = BufReader::new(stream.try_clone()?);
    let block = vec![0; BLOCK];
    for repetition in 0..=REPETITIONS {
        let begun = Instant::now();
        let mut left = bytes;
        while left > 0 {
            let most = left.min(BLOCK);
            stream.write_all(&block[..most])?;
            left -= most;
        }
        if confirmations.fill_buf()?.is_empty() {
            return Err("the receiver has gone".into());
        }
        confirmations.consume(1);
        if repetition > 0 {
            println!("{}", begun.elapsed().as_secs_f64());
        }
    }
    Ok(())
}
