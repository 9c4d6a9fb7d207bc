use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::secured;

#[derive(Debug)]
struct Only(Vec<Fingerprint>);

impl Known for Only {
    fn knows(&self, fingerprint: Fingerprint) -> bool {
        self.0.contains(&fingerprint)
    }
}

/// Connects `client` to a server that has the certificate of `server` and knows `known`, expecting `expected`. Returns
/// the fingerprint that the server saw and whether a byte got through in both directions.
async fn meet(
    server: &PeerCertificate,
    known: Vec<Fingerprint>,
    client: &PeerCertificate,
    expected: Fingerprint,
) -> (io::Result<Option<Fingerprint>>, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place { address: listener.local_addr().unwrap().to_string(), socket: None };
    let config = server.server(Arc::new(Only(known))).unwrap();
    let serving = async {
        let (stream, _) = listener.accept().await?;
        let mut stream = secured::accept(Socket::Left(stream), config).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        Ok(secured::peer_certificate(&stream).map(Fingerprint::of))
    };
    let calling = async {
        let mut stream = open(&place, Some(client.client(expected).unwrap())).await?;
        stream.write_u8(7).await?;
        stream.read_u8().await
    };
    let (served, called) = tokio::join!(serving, calling);
    (served, called.is_ok_and(|byte| byte == 7))
}

#[tokio::test]
async fn workers_that_know_each_other_connect() {
    let (server, client) = (PeerCertificate::create().unwrap(), PeerCertificate::create().unwrap());
    let (seen, through) = meet(&server, vec![client.fingerprint()], &client, server.fingerprint()).await;
    assert_eq!((seen.unwrap(), through), (Some(client.fingerprint()), true));
}

#[tokio::test]
async fn a_client_whose_fingerprint_is_not_known_is_refused() {
    let (server, client) = (PeerCertificate::create().unwrap(), PeerCertificate::create().unwrap());
    let other = PeerCertificate::create().unwrap().fingerprint();
    let (seen, through) = meet(&server, vec![other], &client, server.fingerprint()).await;
    assert!(seen.is_err() && !through);
}

#[tokio::test]
async fn a_server_with_another_certificate_is_refused() {
    let (server, client) = (PeerCertificate::create().unwrap(), PeerCertificate::create().unwrap());
    let (seen, through) = meet(&server, vec![client.fingerprint()], &client, client.fingerprint()).await;
    assert!(seen.is_err() && !through);
}

#[tokio::test]
async fn a_worker_of_this_machine_is_reached_by_its_socket_and_another_one_over_tcp() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let name = SocketName::random().unwrap();
    let unix = name.listen().unwrap();
    let here = Place { address: address.clone(), socket: Some(name) };
    let (reached, accepted) = tokio::join!(reach(&here), unix.accept());
    assert!(matches!(reached.unwrap(), Socket::Right(_)) && accepted.is_ok());
    // Nobody of this machine listens under that name.
    let elsewhere = Place { address, socket: Some(SocketName::random().unwrap()) };
    let (reached, accepted) = tokio::join!(reach(&elsewhere), tcp.accept());
    assert!(matches!(reached.unwrap(), Socket::Left(_)) && accepted.is_ok());
    drop(unix);
    let (reached, accepted) = tokio::join!(reach(&here), tcp.accept());
    assert!(matches!(reached.unwrap(), Socket::Left(_)) && accepted.is_ok(), "a socket that has gone");
}
