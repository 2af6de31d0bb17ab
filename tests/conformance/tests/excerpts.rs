//! What `docs/embedding.md` shows is code that is compiled, and stays as short as it says.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().parent().unwrap();
    fs::read_to_string(root.join(path)).unwrap()
}

#[test]
fn every_excerpt_stands_in_the_example() {
    let code = read("core/examples/threads.rs");
    let page = read("docs/embedding.md");
    let mut excerpts = 0;
    for block in page.split("```rust\n").skip(1) {
        let excerpt = block.split("```").next().unwrap();
        assert!(code.contains(excerpt), "not in core/examples/threads.rs:\n{excerpt}");
        excerpts += 1;
    }
    assert!(excerpts >= 8, "{excerpts}");
}

#[test]
fn examples_are_as_short_as_promised() {
    for (path, most) in [("core/examples/threads.rs", 200), ("runtime-smol/examples/peer.rs", 100)]
    {
        let lines = read(path).lines().count();
        assert!(lines < most, "{path} has {lines} lines");
    }
}
