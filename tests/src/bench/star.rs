//! The limits of the machine: copies in memory, and the exchange's dataflow over bare loopback sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Barrier, RwLock};
use std::thread;
use std::time::Instant;

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::optimizer::elementwise::add_assign;

use super::Samples;

/// Seconds of copying `elements` f32 in memory, with as many threads as the optimizer uses.
pub fn copies(elements: usize, repetitions: usize) -> Samples {
    use rayon::prelude::*;
    const GRAIN: usize = 1 << 16;
    let (from, mut to) = (vec![1.0_f32; elements], vec![2.0_f32; elements]);
    repeat(repetitions, || {
        to.par_chunks_mut(GRAIN).zip(from.par_chunks(GRAIN)).for_each(|(to, from)| to.copy_from_slice(from));
    })
}

/// Seconds of adding `workers` partials of `elements` f32 each, as the coordinator does.
pub fn sums(elements: usize, workers: usize, repetitions: usize) -> Samples {
    let (mut left, right) = (vec![1.0_f32; elements], vec![2.0_f32; elements]);
    repeat(repetitions, || (1..workers).for_each(|_| add_assign(&mut left, &right)))
}

/// Seconds of a star exchange over bare sockets: each of `workers` threads sends `elements` f32, they are summed, and
/// each receives the sum. There are no frames and no checksums, and all memory is mapped beforehand.
///
/// # Errors
/// If the loopback interface fails.
pub fn star(elements: usize, workers: usize, repetitions: usize) -> std::io::Result<Samples> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut pairs = Vec::new();
    for _ in 0..workers {
        let near = TcpStream::connect(listener.local_addr()?)?;
        pairs.push((near, listener.accept()?.0));
    }
    let (total, turn) = (RwLock::new(FlatBuffer::zeros(elements)), Barrier::new(workers));
    let begin = Barrier::new(2 * workers + 1);
    let samples = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (near, far) in pairs {
            threads.push(scope.spawn(|| send(near, elements, repetitions, &begin)));
            threads.push(scope.spawn(|| sum(far, &total, &turn, repetitions, &begin)));
        }
        let samples = (0..repetitions)
            .map(|_| {
                begin.wait();
                let begun = Instant::now();
                begin.wait();
                begun.elapsed().as_secs_f64()
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))?;
        std::io::Result::Ok(samples)
    })?;
    Ok(samples)
}

fn send(mut socket: TcpStream, elements: usize, repetitions: usize, begin: &Barrier) -> std::io::Result<()> {
    let mut partial = FlatBuffer::from(vec![1.0; elements]);
    for _ in 0..repetitions {
        begin.wait();
        socket.write_all(partial.as_bytes())?;
        socket.read_exact(partial.as_bytes_mut())?;
        begin.wait();
    }
    Ok(())
}

fn sum(
    mut socket: TcpStream,
    total: &RwLock<FlatBuffer>,
    turn: &Barrier,
    repetitions: usize,
    begin: &Barrier,
) -> std::io::Result<()> {
    let elements = total.read().map_or(0, |total| total.len());
    let mut partial = FlatBuffer::from(vec![1.0; elements]);
    for _ in 0..repetitions {
        begin.wait();
        socket.read_exact(partial.as_bytes_mut())?;
        if let Ok(mut total) = total.write() {
            add_assign(&mut total, &partial);
        }
        turn.wait();
        if let Ok(total) = total.read() {
            socket.write_all(total.as_bytes())?;
        }
        begin.wait();
    }
    Ok(())
}

fn repeat(repetitions: usize, mut act: impl FnMut()) -> Samples {
    act();
    let timed = |_| {
        let begun = Instant::now();
        act();
        begun.elapsed().as_secs_f64()
    };
    (0..repetitions).map(timed).collect()
}
