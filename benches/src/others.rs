//! The machine's own limits and other tools, for comparison in the same run.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Row;
use crate::process::Measured;
use crate::transfer::{remove, warm};

fn quiet(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::null()).stderr(Stdio::null())
}

/// `openssl dgst -sha256`: what reading and hashing the file once costs at least.
pub(crate) fn digest(file: &Path, bytes: u64) -> Result<Row, String> {
    let mut command = Command::new("openssl");
    let cost = Measured::start(quiet(command.args(["dgst", "-sha256"]).arg(file)))?.finish()?;
    let sides = vec![("openssl", cost)];
    Ok(Row { name: "openssl dgst -sha256".into(), bytes, seconds: cost.seconds, sides })
}

/// `iperf3` over loopback for two seconds: TCP alone, nothing encrypted, nothing written.
pub(crate) fn iperf() -> Result<Row, String> {
    let port = free_port()?.to_string();
    let mut command = Command::new("iperf3");
    let server = Measured::start(quiet(command.args(["-s", "-1", "-p", &port])))?;
    let end = Instant::now() + Duration::from_secs(5);
    let json = loop {
        let mut client = Command::new("iperf3");
        let args = ["-c", "127.0.0.1", "-p", &port, "-t", "2", "-J"];
        let output = client.args(args).output().map_err(|error| format!("iperf3: {error}"))?;
        let json: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(|_| "iperf3 said nothing".to_owned())?;
        // It ends with 0 also where the server does not listen yet.
        if json["error"].is_null() || Instant::now() > end {
            break json;
        }
    };
    let cost = server.stop();
    let sum = &json["end"]["sum_received"];
    match (sum["bytes"].as_u64(), sum["seconds"].as_f64()) {
        (Some(bytes), Some(seconds)) => Ok(Row {
            name: "iperf3, TCP alone".into(),
            bytes,
            seconds,
            sides: vec![("server", cost)],
        }),
        _ => Err("iperf3 failed".into()),
    }
}

/// nginx over HTTPS (AES-256-GCM) and curl: encrypted, written, not verified.
pub(crate) fn https(dir: &Path, file: &Path, bytes: u64) -> Result<Row, String> {
    let port = free_port()?;
    let web = dir.join("nginx");
    fs::create_dir_all(&web).map_err(|error| error.to_string())?;
    certificate(&web)?;
    let config = format!(
        "daemon off; master_process off; pid {web}/pid; error_log {web}/log;
         events {{}}
         http {{
             access_log off; sendfile on;
             client_body_temp_path {web}/b; proxy_temp_path {web}/p; fastcgi_temp_path {web}/f;
             uwsgi_temp_path {web}/u; scgi_temp_path {web}/s;
             server {{
                 listen 127.0.0.1:{port} ssl;
                 ssl_certificate {web}/cert.pem; ssl_certificate_key {web}/key.pem;
                 root {root};
             }}
         }}",
        web = web.display(),
        root = dir.display(),
    );
    let path = web.join("nginx.conf");
    fs::write(&path, config).map_err(|error| error.to_string())?;
    // The files belong to whoever runs this; so must the worker.
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    let mut command = Command::new("nginx");
    let args = ["-p", &web.to_string_lossy(), "-c", &path.to_string_lossy(), "-g", user];
    let server = Measured::start(quiet(command.args(args)))?;
    let target = dir.join("target");
    warm(&target, bytes)?;
    let url =
        format!("https://127.0.0.1:{port}/{}", file.file_name().unwrap_or_default().display());
    let mut command = Command::new("curl");
    let retry = ["-fsk", "--retry", "20", "--retry-connrefused", "--retry-delay", "1"];
    let curl = Measured::start(
        quiet(command.args(retry).args(["--ciphers", "ECDHE-RSA-AES256-GCM-SHA384"]).arg("-o"))
            .arg(&target)
            .arg(url),
    )?;
    let cost = curl.finish()?;
    let served = server.stop();
    remove(&target)?;
    let sides = vec![("nginx", served), ("curl", cost)];
    Ok(Row { name: "nginx HTTPS + curl".into(), bytes, seconds: cost.seconds, sides })
}

fn certificate(web: &Path) -> Result<(), String> {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x"]);
    command.arg("-keyout").arg(web.join("key.pem")).arg("-out").arg(web.join("cert.pem"));
    let status = quiet(&mut command).status().map_err(|error| format!("openssl: {error}"))?;
    if status.success() { Ok(()) } else { Err("openssl made no certificate".into()) }
}

/// `rsync -a` from folder to folder on this machine: two processes and a pipe, no encryption.
pub(crate) fn rsync(dir: &Path, folder: &Path, bytes: u64) -> Result<Row, String> {
    let target = dir.join("target");
    warm(&target, bytes)?;
    let mut command = Command::new("rsync");
    command.arg("-a").arg(format!("{}/", folder.display())).arg(&target);
    let cost = Measured::start(quiet(&mut command))?.finish()?;
    remove(&target)?;
    let sides = vec![("rsync", cost)];
    Ok(Row { name: "rsync -a, small files".into(), bytes, seconds: cost.seconds, sides })
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}
