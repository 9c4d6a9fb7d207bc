use super::*;

#[test]
fn the_first_bytes_of_another_protocol_are_recognised_and_those_of_http2_are_not() {
    let heard = Heard::default();
    let explained = |first: &[u8]| {
        heard.note(first);
        heard.explain(io::Error::other("broken")).to_string()
    };
    // An alert of TLS 1.2, one of TLS 1.0, an answer of HTTP/1.1, settings of HTTP/2, nothing.
    assert_eq!(explained(&[0x15, 3, 3, 0, 2, 2, 50]), Mismatch::Tls.to_string());
    assert_eq!(explained(&[0x15, 3, 1, 0, 2, 2, 70]), Mismatch::Tls.to_string());
    assert_eq!(explained(b"HTTP/1.1 400 Bad Request\r\n"), Mismatch::Http(None).to_string());
    assert_eq!(explained(&[0, 0, 36, 4, 0, 0, 0, 0, 0]), "broken");
    assert_eq!(explained(&[]), "broken");
}

#[tokio::test]
async fn an_answer_is_heard_although_writing_fails_before_it_was_read() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let heard = Heard::default();
    let mut listened = listened(crate::secured::plain(stream), heard.clone());
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(&[0x15, 3, 3, 0, 2, 2, 50]).await.unwrap();
    drop(server);
    // The first bytes reach a closed socket, whose answer makes a later attempt fail.
    while listened.write_all(b"PRI * HTTP/2.0").await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(heard.explain(io::Error::other("broken")).to_string(), Mismatch::Tls.to_string());
}
