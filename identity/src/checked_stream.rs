//! A stream with something that is asked before it is used and hears what arrives on it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What goes along with a stream `S`.
pub trait StreamCheck<S> {
    /// Asked before each reading, writing and flushing.
    ///
    /// # Errors
    /// If the stream may not be used any more.
    fn check(&mut self, _context: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Hears what has arrived. Nothing arrives at the end of the stream.
    fn arrived(&mut self, _bytes: &[u8]) {}

    /// Has `write` write to the stream, and returns its result.
    fn write(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>>
    where
        S: Unpin,
    {
        write(Pin::new(stream), context)
    }
}

/// What calls are told of the connection `S` that they came over.
pub trait Described<S> {
    /// What they are told.
    type Info: Clone + Send + Sync + 'static;

    /// Describes the connection.
    fn info(&self, stream: &S) -> Self::Info;
}

/// A stream and what is asked before it is used.
#[derive(Debug)]
pub struct CheckedStream<S, C> {
    stream: S,
    check: C,
}

impl<S, C> CheckedStream<S, C> {
    /// A stream that asks `check`.
    pub fn new(stream: S, check: C) -> Self {
        Self { stream, check }
    }

    /// What is asked before the stream is used.
    pub fn asked(&self) -> &C {
        &self.check
    }
}

impl<S, C: Described<S>> Connected for CheckedStream<S, C> {
    type ConnectInfo = C::Info;

    fn connect_info(&self) -> C::Info {
        self.check.info(&self.stream)
    }
}

impl<S: AsyncRead + Unpin, C: StreamCheck<S> + Unpin> AsyncRead for CheckedStream<S, C> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, check } = self.get_mut();
        check.check(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(stream).poll_read(context, buffer))?;
        check.arrived(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, C: StreamCheck<S> + Unpin> AsyncWrite for CheckedStream<S, C> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, check } = self.get_mut();
        check.check(context)?;
        check.write(stream, context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, check } = self.get_mut();
        check.check(context)?;
        check.write(stream, context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, check } = self.get_mut();
        check.check(context)?;
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
