use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Allows a number of uses, and keeps what arrives.
struct Uses {
    left: u32,
    heard: Vec<u8>,
}

impl<S> StreamCheck<S> for Uses {
    fn check(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or(io::ErrorKind::TimedOut)?;
        Ok(())
    }

    fn arrived(&mut self, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
    }
}

#[tokio::test]
async fn a_stream_asks_before_each_use_and_tells_what_arrives() {
    let (near, mut far) = tokio::io::duplex(16);
    let mut near = CheckedStream::new(near, Uses { left: 3, heard: Vec::new() });
    far.write_all(b"ab").await.unwrap();
    assert_eq!(near.read_u8().await.unwrap(), b'a');
    assert_eq!(near.read_u8().await.unwrap(), b'b');
    near.write_u8(b'c').await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'c');
    assert_eq!(near.check.heard, b"ab");
    let refused = [near.read_u8().await.err(), near.write_u8(0).await.err(), near.flush().await.err()];
    for error in refused {
        assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
    }
    // It can still be closed.
    near.shutdown().await.unwrap();
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
}
