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
