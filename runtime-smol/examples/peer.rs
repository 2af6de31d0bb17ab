//! A whole peer in one file, on smol: `cargo run -p towpath-smol --example peer -- share PATH`
//! (with the tracker's URL in `TOWPATH_TRACKER`), or `… -- get LINK [-o OUT]`.

#![expect(clippy::print_stdout, reason = "it talks to people")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use towpath_core::id::{ContentKey, Kind, Secret, Space};
use towpath_core::link::Link;
use towpath_core::name::sanitize;
use towpath_core::node::{Event, Input, Sink};
use towpath_core::path::Policy;
use towpath_runtime::random;
use towpath_smol::{Content, Peer, PeerConfig, blocking};
use towpath_store::{Opened, Source, Target};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Our only share or download has this number.
const KEY: ContentKey = ContentKey(1);

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["share", path] => smol::block_on(share(path.into(), std::env::var("TOWPATH_TRACKER")?)),
        ["get", link] => smol::block_on(get(link.parse()?, None)),
        ["get", link, "-o", out] => smol::block_on(get(link.parse()?, Some(out.into()))),
        _ => Err("peer share PATH | peer get LINK [-o OUT]".into()),
    }
}

async fn start(tracker: String) -> Result<Peer, Box<dyn Error>> {
    // Nobody needs to know us again tomorrow: the key is made now.
    let peer = Peer::start(PeerConfig::new(random(), tracker)).await?;
    peer.commands().send(Input::Listening { addresses: vec![peer.listen_addr()] });
    Ok(peer)
}

async fn share(path: PathBuf, tracker: String) -> Outcome {
    let mut peer = start(tracker.clone()).await?;
    let cache = std::env::temp_dir().join("towpath-smol-peer");
    let source = blocking(move || Source::prepare(&cache, &[path], &mut |_| {})).await?;
    let (descriptor, secret) = (source.descriptor(), Some(Secret::new(random())));
    let (name, contents) = (source.name().into(), source.contents());
    let link = Link { tracker, locator: descriptor.locator(secret.as_ref()), secret };
    let (content, secret) = (KEY, link.secret.clone());
    peer.commands().register(KEY, Content::Source(Arc::new(source)))?;
    peer.commands().send(Input::Share { content, descriptor, secret, name, contents });
    while let Some(event) = peer.events.recv().await {
        match event {
            Event::Announced(KEY) => println!("{link}"),
            other => println!("{other:?}"),
        }
    }
    Ok(())
}

async fn get(Link { tracker, locator, secret }: Link, out: Option<PathBuf>) -> Outcome {
    let mut peer = start(tracker).await?;
    let (commands, mut opened) = (peer.commands(), None);
    let (content, policy, sink) = (KEY, Policy::Auto, Sink::Store);
    let (serve, timeout) = (true, None);
    commands.send(Input::Get { content, locator, secret, policy, sink, serve, timeout });
    while let Some(event) = peer.events.recv().await {
        let space = match event {
            Event::Described { descriptor, name, .. } => {
                let out = out.clone().unwrap_or_else(|| sanitize(&name).into());
                let open = move || Target::open(&out, descriptor, false, &mut |_| {});
                let Opened::Partial(target) = blocking(open).await? else { break };
                opened = Some((Arc::new(target), descriptor.kind));
                Space::Root
            }
            Event::SpaceComplete(_, space) => match &opened {
                Some((_, Kind::Manifest)) if space == Space::Root => Space::Contents,
                _ => break,
            },
            Event::Failed(_, why) => return Err(format!("{why:?}").into()),
            other => {
                println!("{other:?}");
                continue;
            }
        };
        let Some((target, _)) = opened.clone() else { break };
        commands.register(KEY, Content::Target(target.clone()))?;
        let (shape, have) = blocking(move || target.begin(space, &mut |_| {})).await?;
        commands.send(Input::Begin { content, space, shape, have });
    }
    if let Some((target, _)) = opened {
        println!("{}", blocking(move || target.finish()).await?.display());
        commands.send(Input::Finished(KEY));
    }
    peer.stop().await;
    Ok(())
}
