//! The command: its first line, its end, its words.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::client::call;

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_towpath-tracker"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The text on standard output and error, and the exit code.
fn run(arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = command().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn it_says_where_it_listens_and_stops_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["-TERM", "-INT"] {
        let data = folder.path().join("data");
        let mut child =
            command().args(["--listen", "127.0.0.1:0", "--data"]).arg(data).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on http://").unwrap().trim_end();
        let address: SocketAddr = address.parse().unwrap();
        assert_eq!(call(address, "GET", "/health", &[], "").await.text(), "OK");
        signal(&child, name);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!((child.wait().unwrap().code(), rest.as_str()), (Some(0), ""));
    }
    let left = std::fs::read_dir(folder.path().join("data")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(
        left,
        ["admin.key", "relay.key", "token.key", "tracker.sqlite"],
        "no journal is left"
    );
}

// Spec K4
#[tokio::test]
async fn its_log_names_no_locator_and_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command()
        .args(["-v", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address: SocketAddr = line["listening on http://".len()..].trim_end().parse().unwrap();
    let (locator, token) = ("5e".repeat(32), "AToken".repeat(10));
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let body = format!("{{\"peer_id\":\"{}.0000000000000001\",", "ab".repeat(32));
    let body = format!("{body}\"file\":{{\"hash\":\"{locator}\"}}}}");
    for (method, path, body) in [
        ("GET", format!("/api/files/{locator}/peers?namespace=native"), String::new()),
        ("GET", format!("/f/{locator}"), String::new()),
        ("POST", "/api/files/announce".into(), body.clone()),
        ("POST", "/api/files/announce".into(), body[1..].to_owned()),
        ("DELETE", format!("/api/files/{locator}"), String::new()),
    ] {
        let reply = call(address, method, &path, &headers, body).await;
        assert!((400..500).contains(&reply.status), "{path}: {}", reply.text());
    }
    signal(&child, "-TERM");
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    child.wait().unwrap();
    assert!(log.contains("DEBUG"), "it says much: {log}");
    assert!(!log.contains(&locator) && !log.contains(&token), "{log}");
}

#[test]
fn help_has_examples_and_errors_are_sentences() {
    let (out, _, code) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for word in ["Examples:", "Exit codes:", "--tls-cert", "--public-url", "listening on URL"] {
        assert!(out.contains(word), "{word} is missing in\n{out}");
    }
    assert!(run(&["--version"]).0.starts_with("towpath-tracker "));

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let (out, error, code) =
        run(&["--listen", "127.0.0.1:0", "--data", data, "--database", "mysql://x"]);
    assert_eq!((code, out.as_str(), error.lines().count()), (Some(1), "", 1), "{error}");
    let (_, error, code) = run(&["--listen", "nowhere"]);
    assert_eq!(code, Some(2), "{error}");
    let (_, error, code) = run(&["--tls-cert", "x.pem"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("--tls-key"), "{error}");
}
