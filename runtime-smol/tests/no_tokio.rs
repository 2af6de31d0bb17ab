//! The second runtime proves that the core needs none in particular: there is no tokio in it.

use std::process::Command;

#[test]
fn there_is_no_tokio_and_one_provider_of_cryptography() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", "towpath-smol", "-e", "normal", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("smol v") && tree.contains("aws-lc-rs v"), "{tree}");
    for absent in ["tokio", "hyper", "ring v", "openssl v", "native-tls"] {
        let found = tree.lines().find(|line| line.contains(absent));
        assert_eq!(found, None);
    }
}
