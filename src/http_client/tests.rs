//! The client against servers that answer, that do not, and that are not who they say.

use super::*;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const BOUNDS: Bounds =
    Bounds { connect: Duration::from_millis(400), answer: Duration::from_millis(800), bytes: 1_000 };

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Writes `answer` to everybody who asks, and closes or does not.
async fn scripted(answer: &'static str, is_closed: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4_096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            if !is_closed {
                open.push(stream);
            }
        }
    });
    address.to_string()
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).expect("a request")
}

fn plain(protocol: Protocol) -> Client {
    Client::open(protocol, false, &TlsFiles::default(), BOUNDS).expect("a client")
}

#[test]
fn what_goes_wrong_is_named_without_secrets() {
    let redirect =
        "HTTP/1.1 302 Found\r\nLocation: https://a:b@else.where/in?next=x\r\nContent-Length: 0\r\n\r\n";
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n";
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
    runtime().block_on(async {
        for (answer, is_closed, part) in [
            (redirect, true, "sends us on to https://else.where/in, and redirects"),
            (long, false, "larger than 1000 bytes"),
            (cut, true, "the answer broke off"),
            (cut, false, "no answer within 0.8 s"),
            ("", false, "no answer within 0.8 s"),
            ("", true, "asking http://"),
            ("SSH-2.0-OpenSSH_9.2\r\n", true, "asking http://"),
        ] {
            let server = scripted(answer, is_closed).await;
            let url = format!("http://me:secret@{server}/x?token=secret");
            let error = plain(Protocol::Http1).send(get(&url)).await.expect_err(part);
            let said = error.to_string();
            assert!(said.contains(part) && said.contains(&format!("http://{server}/x")), "{said}");
            assert!(!format!("{error:?}{said}").contains("secret") && !said.contains('\n'), "{said}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let nobody = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let said = plain(Protocol::Http1).send(get(&nobody)).await.expect_err("nobody").to_string();
        assert!(said.starts_with(&format!("connecting to {nobody}")) && said.contains("refused"), "{said}");
    });
}

#[test]
fn the_request_is_what_was_asked_for_and_connections_are_kept() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut all = String::new();
            for _ in 0..2 {
                let mut head = vec![0; 4_096];
                let read = stream.read(&mut head).await.expect("a request");
                all += &String::from_utf8_lossy(&head[..read]);
                let answer = b"HTTP/1.1 422 No\r\nContent-Length: 3\r\nX-Why: so\r\n\r\nwhy";
                stream.write_all(answer).await.expect("written");
            }
            all
        });
        let client = plain(Protocol::Http1);
        for _ in 0..2 {
            let request = Request::post(format!("http://u:p@{address}/a/b?c=d"))
                .body(Bytes::from_static(b"body"))
                .expect("a request");
            let answer = client.send(request).await.expect("any status is an answer");
            assert_eq!((answer.status.as_u16(), &answer.body[..]), (422, &b"why"[..]));
            assert_eq!(answer.headers["x-why"], "so");
        }
        let asked = asked.await.expect("no panic").to_lowercase();
        assert_eq!(asked.matches("post /a/b?c=d http/1.1\r\n").count(), 2, "{asked}");
        assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
        assert!(asked.contains("user-agent: jouleprint/") && asked.ends_with("\r\n\r\nbody"), "{asked}");
    });
}

/// A gRPC-like answer: a body and, after it, how it went.
async fn with_trailers(
    _: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    let body = Full::new(Bytes::from_static(b"abc")).with_trailers(async { Some(Ok(trailers)) });
    Ok(Response::new(body))
}

#[test]
fn http2_brings_what_follows_the_body() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service_fn(with_trailers)).await;
        });
        let answer = plain(Protocol::Http2).send(get(&format!("http://{address}/x"))).await;
        let answer = answer.expect("an answer");
        assert_eq!(&answer.body[..], b"abc");
        assert_eq!(answer.trailers["grpc-status"], "0");
    });
}

/// An authority, and a server and a client that it knows.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().expect("a folder");
        let write =
            |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("written");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let ca = CertifiedIssuer::self_signed(parameters, key).expect("a certificate");
        write("ca.pem", ca.pem());
        for (name, host) in [("server", "localhost"), ("client", "me")] {
            let key = KeyPair::generate().expect("a key");
            let parameters = CertificateParams::new(vec![host.to_owned()]).expect("a name");
            let certificate = parameters.signed_by(&key, &ca).expect("a certificate");
            write(&format!("{name}.pem"), certificate.pem());
            write(&format!("{name}.key"), key.serialize_pem());
            write(&format!("{name}.both"), certificate.pem() + &key.serialize_pem());
        }
        Authority { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn trusted(&self) -> TlsFiles {
        TlsFiles { ca: Some(self.file("ca.pem")), ..TlsFiles::default() }
    }

    /// A server that says hello once for each connection; the port it has.
    async fn serve(&self, asks_who: bool) -> u16 {
        let der = |path: &Path| CertificateDer::from_pem_file(path).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if asks_who {
            let mut roots = RootCertStore::empty();
            roots.add(der(&self.file("ca.pem"))).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_file(self.file("server.key")).expect("a key");
        let config = builder.with_single_cert(vec![der(&self.file("server.pem"))], key).expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = vec![0; 4_096];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
                let _ = stream.shutdown().await;
            }
        });
        port
    }
}

#[test]
fn a_server_is_believed_only_with_a_certificate_for_its_name_from_whom_we_trust() {
    runtime().block_on(async {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let port = ours.serve(false).await;
        let ask = async |files: &TlsFiles, host: &str| {
            let client = Client::open(Protocol::Http1, true, files, BOUNDS).expect("a client");
            client.send(get(&format!("https://{host}:{port}/"))).await.map_err(|error| error.to_string())
        };
        let answer = ask(&ours.trusted(), "localhost").await.expect("trusted");
        assert_eq!(&answer.body[..], b"hello");
        for (files, host) in [(theirs.trusted(), "localhost"), (ours.trusted(), "127.0.0.1")] {
            let said = ask(&files, host).await.expect_err("not trusted");
            assert!(said.starts_with("connecting to https://") && said.contains("certificate"), "{said}");
        }
    });
}

#[test]
fn a_server_that_asks_who_we_are_is_told() {
    runtime().block_on(async {
        let authority = Authority::new();
        let port = authority.serve(true).await;
        let with = |certificate: &str, key: Option<&str>| TlsFiles {
            certificate: Some(authority.file(certificate)),
            key: key.map(|key| authority.file(key)),
            ..authority.trusted()
        };
        for (files, is_known) in [
            (with("client.pem", Some("client.key")), true),
            (with("client.both", None), true),
            (authority.trusted(), false),
        ] {
            let client = Client::open(Protocol::Http1, true, &files, BOUNDS).expect("a client");
            let answer = client.send(get(&format!("https://localhost:{port}/"))).await;
            assert_eq!(answer.is_ok(), is_known, "{answer:?}");
        }
    });
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let authority = Authority::new();
    let none = authority.file("none");
    std::fs::write(&none, "hello").expect("written");
    let file = |name: &str| Some(authority.file(name));
    let ca = file("ca.pem");
    for (files, parts) in [
        (TlsFiles { ca: Some("/nowhere".into()), ..TlsFiles::default() }, ["reading /nowhere", "PEM"]),
        (TlsFiles { ca: Some(none.clone()), ..TlsFiles::default() }, ["none", "it has none"]),
        (TlsFiles { ca: ca.clone(), certificate: None, key: file("client.key") }, ["a key alone", "give"]),
        (
            TlsFiles { ca: ca.clone(), certificate: file("client.pem"), key: None },
            ["client.pem", "private key"],
        ),
        (
            TlsFiles { ca, certificate: file("client.pem"), key: file("server.key") },
            ["client certificate", "belongs to it"],
        ),
    ] {
        let said = Client::open(Protocol::Http1, true, &files, BOUNDS).map(|_| ()).expect_err("unusable");
        for part in parts {
            assert!(said.to_string().contains(part), "{said}");
        }
    }
}

#[test]
fn a_handshake_that_hangs_ends() {
    runtime().block_on(async {
        let server = scripted("", false).await;
        let authority = Authority::new();
        let client = Client::open(Protocol::Http1, true, &authority.trusted(), BOUNDS).expect("a client");
        let said = client.send(get(&format!("https://{server}"))).await.expect_err("silence").to_string();
        assert!(said.contains("no connection within 0.4 s"), "{said}");
    });
}

#[test]
fn urls_that_are_none_are_refused_without_being_repeated() {
    for (text, part) in [
        ("localhost:4318", "does not begin with http"),
        ("ftp://me:secret@host", "does not begin with http"),
        ("http://", "no URL"),
        ("http://me:secret@ho st/", "no URL"),
        ("http://me:secret@host:x/", "port is no number"),
        ("http://host:", "port is no number"),
        ("/secret", "does not begin with http"),
        ("", "no URL"),
    ] {
        let said = url(text).expect_err(text).to_string();
        assert!(said.contains(part) && said.contains("write http://host:port/path"), "{text}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    for text in ["http://h", "https://u:p@h:1/x?y", "http://[::1]:9/"] {
        assert!(url(text).is_ok(), "{text}");
    }
    assert_eq!(bare("https://a:b@c/d?e#f"), "https://c/d");
    assert_eq!(bare("/login?token=1"), "/login");
}
