//! HTTPS on the same port, from PEM files; and starts that cannot be.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use towpath_tracker::{Config, Listen, Tls, Tracker};

use crate::harness::Server;

#[tokio::test]
async fn it_speaks_https_with_a_given_certificate() {
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = Server::with(|config| config.tls = Some(Tls { cert, key })).await;
    assert!(server.running.listening_url().starts_with("https://127.0.0.1:"));

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("OK"), "{answer}");

    // Plain HTTP to a TLS port gets nothing, and harms nothing.
    let mut plain = TcpStream::connect(server.addr()).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
}

async fn refusal(change: impl FnOnce(&mut Config)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(folder.path());
    config.listen = Listen::Address("127.0.0.1:0".parse().unwrap());
    change(&mut config);
    Tracker::start(config).await.expect_err("it cannot start").to_string()
}

#[tokio::test]
async fn a_start_that_cannot_be_says_why_in_one_sentence() {
    let files = tempfile::tempdir().unwrap();
    let missing = files.path().join("missing.pem");
    let wrong = files.path().join("wrong.pem");
    std::fs::write(&wrong, "not PEM").unwrap();
    let tls = |cert: &std::path::Path| Tls { cert: cert.to_owned(), key: cert.to_owned() };
    let said = refusal(|config| config.tls = Some(tls(&missing))).await;
    assert!(said.contains("missing.pem cannot be read"), "{said}");
    let said = refusal(|config| config.tls = Some(tls(&wrong))).await;
    assert!(said.contains("wrong.pem holds no certificate"), "{said}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let said = refusal(|config| config.listen = Listen::Address(address)).await;
    assert!(said.contains(&address.to_string()) && said.contains("--listen"), "{said}");

    let said = refusal(|config| config.database = Some("mysql://x".to_owned())).await;
    assert!(said.contains("postgres://"), "{said}");
    let said =
        refusal(|config| config.database = Some("postgres://127.0.0.1:1/x".to_owned())).await;
    assert!(said.contains("PostgreSQL") && said.contains("--database"), "{said}");
    for url in ["example.org", "https://", "https://a/b", "ftp://a", "https://a?b", "https://a'b"] {
        let said = refusal(|config| config.public_url = Some(url.to_owned())).await;
        assert!(said.contains("https://HOST"), "{said}");
    }
    let file = files.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = refusal(|config| config.data = file.join("data")).await;
    assert!(said.contains("--data"), "{said}");
}
