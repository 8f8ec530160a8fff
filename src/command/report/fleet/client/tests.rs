//! The client against a server that answers what it is told to, and one that misbehaves.

use super::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A server for the answers of a test, in order, each on whatever connection asks next.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heads: Receiver<String>,
    // Answers that hang wait for its end.
    _alive: Sender<()>,
}

/// What the server does with one request.
pub(crate) enum Does {
    /// Writes this, and keeps the connection.
    Answers(String),
    /// Writes this, and closes the connection.
    Closes(String),
    /// Writes this, and then nothing more.
    Hangs(String),
}

pub(crate) fn with(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn ok(body: &str) -> Does {
    Does::Answers(with("200 OK", body))
}

impl Server {
    pub(crate) fn start(answers: Vec<Does>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (told, heads) = channel();
        let (alive, ended) = channel::<()>();
        thread::spawn(move || {
            let mut answers = answers.into_iter().peekable();
            while answers.peek().is_some() {
                let Ok((mut stream, _)) = listener.accept() else { return };
                while let Some(head) = head(&mut stream) {
                    let _ = told.send(head);
                    let (text, is_last) = match answers.next() {
                        Some(Does::Answers(text)) => (text, false),
                        Some(Does::Closes(text)) => (text, true),
                        Some(Does::Hangs(text)) => {
                            let _ = stream.write_all(text.as_bytes());
                            let _ = ended.recv();
                            return;
                        }
                        None => return,
                    };
                    let is_gone = stream.write_all(text.as_bytes()).is_err();
                    if is_last || is_gone || answers.peek().is_none() {
                        break;
                    }
                }
            }
        });
        Server { address, heads, _alive: alive }
    }

    /// The heads of the requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.heads.try_iter().collect()
    }
}

fn head(stream: &mut std::net::TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).ok()
}

const BOUNDS: Bounds =
    Bounds { connect: Duration::from_secs(5), answer: Duration::from_millis(300), bytes: 1_000 };

fn client(server: &Server, user: &str) -> Client {
    let url = format!("http://{user}{}/prom/", server.address);
    Client::open(&url, &Credentials::default(), BOUNDS).expect("a client")
}

fn ask(does: Does) -> Result<(u16, String), String> {
    let server = Server::start(vec![does]);
    let answer =
        client(&server, "me:secret@").get("/api/v1/query", &[("query", "up{a=\"b\"}"), ("time", "1")]);
    match answer {
        Ok((status, body)) => Ok((status.as_u16(), String::from_utf8_lossy(&body).into_owned())),
        Err(error) => {
            let said = error.to_string();
            assert!(!said.contains("secret") && !format!("{error:?}").contains("secret"), "{said}");
            assert!(said.contains(&server.address.to_string()), "{said}");
            Err(said)
        }
    }
}

#[test]
fn a_request_has_its_path_its_escaped_parameters_and_who_asks() {
    let server = Server::start(vec![ok("{}"), ok("[]")]);
    let mut client = client(&server, "me%40home:p%3Aw%zz@");
    assert_eq!(client.server(), format!("http://{}/prom", server.address));
    let answer = client.get("/api/v1/query", &[("query", "a{b=\"ü c\"}[5m]"), ("time", "1.5")]);
    assert_eq!(answer.map(|(status, _)| status.as_u16()).expect("an answer"), 200);
    client.get("/x", &[]).expect("an answer");
    let asked = server.asked();
    assert!(
        asked[0].starts_with("GET /prom/api/v1/query?query=a%7Bb%3D%22%C3%BC%20c%22%7D%5B5m%5D&time=1.5 ")
    );
    let head = asked[0].to_lowercase();
    assert!(head.contains(&format!("host: {}\r\n", server.address)), "{head}");
    let credentials = STANDARD.encode("me@home:p:w%zz");
    assert!(asked[1].contains(&format!("Basic {credentials}")), "{}", asked[1]);
}

#[test]
fn credentials_come_from_files_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, "opén sesame\n").expect("written");
    let user = Credentials { user: Some(("me", &file)), token: None };
    let server = Server::start(vec![ok("{}")]);
    let url = format!("http://{}", server.address);
    let mut client = Client::open(&url, &user, BOUNDS).expect("a client");
    client.get("/", &[]).expect("an answer");
    assert!(server.asked()[0].contains(&STANDARD.encode("me:opén sesame")));

    std::fs::write(&file, "abc.def\r\n").expect("written");
    let server = Server::start(vec![ok("{}")]);
    let token = Credentials { user: None, token: Some(&file) };
    let url = format!("http://{}", server.address);
    let mut client = Client::open(&url, &token, BOUNDS).expect("a client");
    client.get("/", &[]).expect("an answer");
    assert!(server.asked()[0].contains("Bearer abc.def\r\n"));

    let nowhere = Credentials { user: None, token: Some(Path::new("/nowhere")) };
    let error = Client::open(&url, &nowhere, BOUNDS).map(|_| ()).expect_err("no file").to_string();
    assert!(error.starts_with("reading /nowhere: "), "{error}");
    std::fs::write(&file, "two\nlines").expect("written");
    let error = Client::open(&url, &token, BOUNDS).map(|_| ()).expect_err("no header").to_string();
    assert!(error.contains("no header can carry"), "{error}");
}

#[test]
fn answers_are_taken_whatever_their_status() {
    assert_eq!(ask(ok("{\"a\":1}")), Ok((200, "{\"a\":1}".to_owned())));
    assert_eq!(ask(Does::Answers(with("422 No", "why"))), Ok((422, "why".to_owned())));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    assert_eq!(ask(Does::Answers(chunked.to_owned())), Ok((200, "{}".to_owned())));
    let until_closed = "HTTP/1.1 200 OK\r\n\r\n{} ";
    assert_eq!(ask(Does::Closes(until_closed.to_owned())), Ok((200, "{} ".to_owned())));
}

#[test]
fn what_goes_wrong_is_named() {
    let redirect =
        "HTTP/1.1 302 Found\r\nLocation: https://a:b@else.where/login?next=x\r\nContent-Length: 0\r\n\r\n";
    for (does, part) in [
        (Does::Answers(redirect.to_owned()), "sends us on to https://else.where/login, and redirects"),
        (Does::Answers(with("301 Moved", "")), "sends us on to nowhere"),
        (Does::Hangs(String::new()), "no answer within 0 s"),
        (Does::Hangs("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned()), "no answer within 0 s"),
        (ok(&"x".repeat(1_001)), "larger than 0 MiB"),
        (Does::Closes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned()), "broke off"),
        (Does::Closes("SSH-2.0-OpenSSH_9.2\r\n".to_owned()), "asking http://"),
        (Does::Closes(String::new()), "asking http://"),
    ] {
        let error = ask(does).expect_err(part);
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_opened_again() {
    let keeps_no_promise = Does::Closes(with("200 OK", "1"));
    let server = Server::start(vec![keeps_no_promise, ok("2"), ok("3")]);
    let mut client = client(&server, "");
    for expected in ["1", "2", "3"] {
        let (_, body) = client.get("/", &[]).expect("an answer");
        assert_eq!(&body[..], expected.as_bytes());
    }
}

#[test]
fn nobody_there_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let url = format!("http://me:secret@{address}");
    let mut client = Client::open(&url, &Credentials::default(), BOUNDS).expect("a client");
    let error = client.get("/", &[]).expect_err("nobody").to_string();
    assert!(error.starts_with(&format!("connecting to http://{address}: ")), "{error}");
    assert!(
        error.contains("refused") && error.contains("does it run?") && !error.contains("secret"),
        "{error}"
    );
}

#[test]
fn urls_that_are_none_are_refused_without_being_repeated() {
    for (url, part) in [
        ("localhost:9090", "does not begin with http"),
        ("ftp://me:secret@host", "does not begin with http"),
        ("http://", "no URL"),
        ("http://me:secret@ho st/", "no URL"),
        ("http://host/?secret=1", "has a query"),
        ("http://me:secret@host:x/", "port is no number"),
        ("http://host:99999", "port is no number"),
        ("http://host:", "port is no number"),
        ("/secret", "does not begin with http"),
        ("", "no URL"),
    ] {
        let error = Client::open(url, &Credentials::default(), BOUNDS).map(|_| ()).expect_err(url);
        let said = error.to_string();
        assert!(said.contains(part) && said.contains("write http://host:9090"), "{url}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn text_that_was_escaped_is_read_back() {
    for (text, expected) in
        [("a%41", "aA"), ("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%C3%BC", "ü"), ("%é", "%é")]
    {
        assert_eq!(unescape(text), expected.as_bytes(), "{text}");
    }
    for (url, expected) in [
        ("https://a:b@c/d?e#f", "https://c/d"),
        ("//x", "//x"),
        ("/login?token=1", "/login"),
        ("http://c@d@e", "http://e"),
    ] {
        assert_eq!(bare(url), expected);
    }
}
