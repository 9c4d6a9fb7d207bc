use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::test_support::parameters;
use crate::{DataEnvironment, csv};

const TABLE: &[u8] = b"a,label\n1,0\n2,1\n";

/// A server's answer for a path.
#[derive(Clone)]
enum Answer {
    /// A body with an entity tag.
    File(Vec<u8>, &'static str),
    /// A body that ends before its length.
    Cut(Vec<u8>),
    /// A body of another version than the answer to the HEAD request.
    Changing(Vec<u8>),
    /// A redirect to a URL.
    Elsewhere(String),
    /// An error whose message does not end.
    Endless,
}

/// A server on the loopback interface that counts the bodies it sends; it lives as long as the test process.
struct Server {
    url: String,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    bodies: Arc<Mutex<usize>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, answers: Arc::default(), bodies: Arc::default() };
        let (answers, bodies) = (Arc::clone(&server.answers), Arc::clone(&server.bodies));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &answers.lock().unwrap().clone(), &bodies);
            }
        });
        server
    }

    fn put(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn bodies(&self) -> usize {
        *self.bodies.lock().unwrap()
    }
}

fn answer(
    mut stream: TcpStream,
    answers: &BTreeMap<String, Answer>,
    bodies: &Mutex<usize>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (head, path) = (words.next() == Some("HEAD"), words.next().unwrap_or_default().to_owned());
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let ok = |body: &[u8], tag: &str, length: usize| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\netag: \"{tag}\"\r\n\r\n"
        );
        (head, body.to_vec())
    };
    let (header, body) = match answers.get(&path) {
        Some(Answer::File(body, tag)) => ok(body, tag, body.len()),
        Some(Answer::Cut(body)) => ok(body, "cut", body.len() + 3),
        Some(Answer::Changing(body)) => ok(body, if head { "one" } else { "two" }, body.len()),
        Some(Answer::Endless) if head => ok(b"", "endless", 1),
        Some(Answer::Endless) => return forever(&mut stream),
        Some(Answer::Elsewhere(url)) => {
            let head = format!(
                "HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n"
            );
            (head, Vec::new())
        }
        None => (
            "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
            Vec::new(),
        ),
    };
    stream.write_all(header.as_bytes())?;
    if !head {
        *bodies.lock().unwrap() += 1;
        stream.write_all(&body)?;
    }
    Ok(())
}

/// Answers with an error message until the client has enough of it.
fn forever(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n")?;
    loop {
        stream.write_all(&[b'x'; 1 << 16])?;
    }
}

/// An environment that allows the prefixes and keeps at most `limit` bytes.
fn environment(allowed: &[String], limit: u64) -> (TempDir, DataEnvironment) {
    let folder = TempDir::new().unwrap();
    let allowed = allowed.iter().map(|prefix| prefix.parse().unwrap()).collect();
    let remote = RemoteData::new(allowed, folder.path().join("cache"), limit);
    let root = folder.path().to_owned();
    (folder, DataEnvironment { remote, ..DataEnvironment::local(root, 1 << 20) })
}

fn load(environment: &DataEnvironment, url: &str) -> Result<u64, DataError> {
    let data = csv(&parameters(json!({ "train": url })), environment)?;
    Ok(data.description().train_samples)
}

#[test]
fn a_file_is_fetched_once_and_again_when_it_changes() {
    let server = Server::start();
    let url = format!("{}/data/train.csv", server.url);
    server.put("/data/train.csv", Answer::File(TABLE.to_vec(), "one"));
    let (_folder, environment) = environment(&[format!("{}/data", server.url)], 1 << 20);
    assert_eq!(load(&environment, &url).unwrap(), 2);
    assert_eq!(load(&environment, &url).unwrap(), 2);
    assert_eq!(server.bodies(), 1);
    server.put("/data/train.csv", Answer::File([TABLE, b"3,1\n"].concat(), "two"));
    assert_eq!(load(&environment, &url).unwrap(), 3);
    assert_eq!(server.bodies(), 2);
}

#[test]
fn nothing_is_read_from_where_it_is_not_allowed() {
    let server = Server::start();
    server.put("/data/train.csv", Answer::File(TABLE.to_vec(), "one"));
    let url = format!("{}/data/train.csv", server.url);
    let (_a, nowhere) = environment(&[], 1 << 20);
    let error = load(&nowhere, &url).unwrap_err();
    assert!(!error.is_fault_of_job());
    let text = error.to_string();
    assert!(text.contains(&url) && text.contains("(--data-url): none"), "{text}");
    let (_b, elsewhere) = environment(&[format!("{}/other", server.url)], 1 << 20);
    let text = load(&elsewhere, &url).unwrap_err().to_string();
    assert!(text.contains("/other"), "{text}");
    let error = load(&elsewhere, &format!("{}/other/../data/train.csv", server.url)).unwrap_err();
    assert!(error.is_fault_of_job() && error.to_string().starts_with("data.train"), "{error}");
    assert_eq!(server.bodies(), 0);
}

#[test]
fn a_redirection_is_followed_only_to_where_it_is_allowed() {
    let (server, other) = (Server::start(), Server::start());
    other.put("/train.csv", Answer::File(TABLE.to_vec(), "one"));
    server.put("/data/train.csv", Answer::Elsewhere(format!("{}/train.csv", other.url)));
    let url = format!("{}/data/train.csv", server.url);
    let (_a, one) = environment(std::slice::from_ref(&server.url), 1 << 20);
    let text = load(&one, &url).unwrap_err().to_string();
    assert!(text.contains("a redirection to \"127.0.0.1\", which is not allowed"), "{text}");
    assert_eq!(other.bodies(), 0);
    let (_b, both) = environment(&[server.url.clone(), other.url.clone()], 1 << 20);
    assert_eq!(load(&both, &url).unwrap(), 2);
}

#[test]
fn of_a_servers_error_message_only_the_beginning_is_read() {
    let server = Server::start();
    server.put("/endless", Answer::Endless);
    let (_folder, environment) = environment(std::slice::from_ref(&server.url), 1 << 20);
    let text = load(&environment, &format!("{}/endless", server.url)).unwrap_err().to_string();
    assert!(text.contains("cannot be fetched") && text.len() < 10_000, "{text}");
}

#[test]
fn a_fetch_ends_when_it_is_cancelled() {
    // It accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (_folder, environment) = environment(std::slice::from_ref(&url), 1 << 20);
    let cancellation = environment.cancellation.clone();
    let fetching = std::thread::spawn(move || load(&environment, &format!("{url}/train.csv")));
    let _asked = silent.accept().unwrap();
    cancellation.cancel();
    let error = fetching.join().unwrap().unwrap_err();
    assert!(matches!(error, DataError::Cancelled), "{error}");
}

#[test]
fn what_does_not_arrive_whole_is_never_used() {
    let server = Server::start();
    server.put("/cut", Answer::Cut(TABLE.to_vec()));
    server.put("/changing", Answer::Changing(TABLE.to_vec()));
    let (folder, environment) = environment(std::slice::from_ref(&server.url), 1 << 20);
    for (path, expected) in [("cut", "cannot be fetched"), ("changing", "changed while"), ("none", "404")] {
        let text = load(&environment, &format!("{}/{path}", server.url)).unwrap_err().to_string();
        assert!(text.contains("cannot be fetched") && text.contains(expected), "{text}");
    }
    let left = std::fs::read_dir(folder.path().join("cache")).unwrap().count();
    assert_eq!(left, 0, "neither a whole file nor a part of one stays behind");
}

#[test]
fn a_file_larger_than_the_cache_is_not_fetched() {
    let server = Server::start();
    server.put("/train.csv", Answer::File(TABLE.to_vec(), "one"));
    let (_folder, environment) = environment(std::slice::from_ref(&server.url), 10);
    let text = load(&environment, &format!("{}/train.csv", server.url)).unwrap_err().to_string();
    assert!(text.contains("16 bytes, the cache may take 10"), "{text}");
    assert_eq!(server.bodies(), 0);
}
