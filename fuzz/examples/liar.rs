//! Serves what a link names, with every tenth chunk false, over real sockets and a real tracker.
//!
//! ```text
//! cargo run -p towpath-fuzz --example liar -- LINK PATH [BYTES_PER_SECOND]
//! ```
//!
//! LINK is what `towpath share PATH` printed. The liar knows the secret, so it is let in, opens
//! like everybody, and proves nine chunks of ten truly. Whoever fetches must find that out by
//! itself: drop the liar, name it, and get the right bytes from others. The tests of the command
//! line (`peer/tests/e2e/swarm.rs`) and `towpath-benches swarm` run it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use towpath_core::id::{ChunkRef, ContentKey};
use towpath_core::link::Link;
use towpath_core::node::{Event, Input};
use towpath_store::Source;
use towpath_tokio::{Content, Peer, PeerConfig, blocking};

const CONTENT: ContentKey = ContentKey(0);

/// Starts a liar and waits until the tracker knows it. It lies as long as the peer lives.
///
/// # Errors
/// Why it cannot: the link is none, `path` is not what it names, the tracker does not answer.
pub(crate) async fn lie(
    link: &str,
    path: &Path,
    data: &Path,
    limit_up_bytes_per_second: Option<u64>,
) -> Result<Peer, String> {
    let link: Link = link.parse().map_err(|error| format!("{error}"))?;
    let (data, paths) = (data.to_path_buf(), [path.to_path_buf()]);
    let source = blocking(move || Source::prepare(&data, &paths, &mut |_| {}))
        .await
        .map_err(|error| format!("cannot read {}: {error:?}", path.display()))?;
    let descriptor = source.descriptor();
    if descriptor.locator(link.secret.as_ref()) != link.locator {
        return Err(format!("{} is not what the link names", path.display()));
    }
    let key = std::process::id().to_be_bytes().repeat(8);
    let key = key.try_into().expect("eight times four bytes");
    let mut config = PeerConfig::new(key, link.tracker.clone());
    config.listen = Some(([127, 0, 0, 1], 0).into());
    config.limit_up_bytes_per_second = limit_up_bytes_per_second;
    let mut peer = Peer::start(config).await.map_err(|error| error.to_string())?;
    let commands = peer.commands();
    commands.send(Input::Listening { addresses: vec![peer.listen_addr()] });
    let (name, contents) = (source.name().to_owned(), source.contents());
    let read = move |request, chunk: ChunkRef, buffer| {
        let mut frame = source.read_chunk(request, chunk, buffer)?;
        if chunk.index % 10 == 9 {
            frame.body_mut().take(1).for_each(|bytes| bytes[0] ^= 1);
        }
        Ok(frame)
    };
    commands.register(CONTENT, Content::Read(Arc::new(read))).map_err(|error| error.to_string())?;
    let secret = link.secret;
    commands.send(Input::Share { content: CONTENT, descriptor, secret, name, contents });
    loop {
        match peer.events.recv().await {
            Some(Event::Announced(_)) => return Ok(peer),
            Some(Event::TrackerTrouble(text)) => return Err(text),
            Some(_) => {}
            None => return Err("the peer ended".into()),
        }
    }
}

#[expect(clippy::print_stdout, reason = "whoever starts it waits for this line")]
async fn run(arguments: &[String]) -> Result<(), String> {
    let (link, path, limit) = match arguments {
        [link, path] => (link, path, None),
        [link, path, limit] => {
            let limit = limit.parse().map_err(|_| format!("{limit} is not a number of bytes"))?;
            (link, path, Some(limit))
        }
        _ => return Err("usage: liar LINK PATH [BYTES_PER_SECOND]".into()),
    };
    let data = std::env::temp_dir().join(format!("towpath-liar-{}", std::process::id()));
    let peer = lie(link, &PathBuf::from(path), &data, limit).await;
    let result = match peer {
        Ok(peer) => {
            println!("lying as {}", peer.me().peer);
            let interrupted = tokio::signal::ctrl_c().await.map_err(|error| error.to_string());
            peer.stop().await;
            interrupted
        }
        Err(error) => Err(error),
    };
    // What cannot be removed in a folder for temporary files is removed by others.
    let _ = std::fs::remove_dir_all(data);
    result
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("liar: {message}");
            ExitCode::FAILURE
        }
    }
}
