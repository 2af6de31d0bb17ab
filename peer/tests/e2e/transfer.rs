//! What a person does: share, get, again, elsewhere, in a pipe; with the real command on this
//! machine.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::world::{World, bytes, finish, last_event, text};
use serde_json::Value;

#[test]
fn a_file_crosses_and_everybody_says_so() {
    let world = World::new();
    let source = world.file("report.bin", 3_000_000);
    let share = world.share(&["--path", "auto", "report.bin"]);
    assert_eq!(share.first["length_bytes"], 3_000_000);
    let got = world.run(&["get", &share.link, "-o", "copy.bin", "--json"]);
    assert!(got.status.success(), "{}", text(&got.stderr));
    assert_eq!(std::fs::read(world.path("copy.bin")).unwrap(), std::fs::read(source).unwrap());
    let done = last_event(&got);
    assert_eq!(done["event"], "done");
    assert_eq!(done["length_bytes"], 3_000_000);
    assert_eq!(done["received_bytes"], 3_000_000);
    assert_eq!(done["by_path"]["direct"], 3_000_000);
    assert_eq!(done["by_path"]["punched"], 0);
    assert_eq!(done["by_path"]["relay"], 0);
    assert!(done["seconds"].as_f64().unwrap() > 0.0);
    assert!(done["reason"].as_str().unwrap().contains("direct"));
    let said = text(&got.stdout);
    assert!(said.contains(r#""event":"path""#), "{said}");
    let receiver = share.event(|e| e["event"] == "receiver" && e["done"] == true);
    assert_eq!(receiver["sent_bytes"], 3_000_000);
    assert_eq!(receiver["path"], "direct");
    assert_eq!(share.stop(), Some(0));
}

#[test]
fn the_relay_carries_when_it_is_wanted() {
    let world = World::new();
    let source = world.file("a", 2_000_000);
    let share = world.share(&["a"]);
    let got = world.run(&["get", &share.link, "-o", "b", "--path", "relay", "--json"]);
    assert!(got.status.success(), "{}", text(&got.stderr));
    assert_eq!(std::fs::read(world.path("b")).unwrap(), std::fs::read(source).unwrap());
    assert_eq!(last_event(&got)["by_path"]["relay"], 2_000_000);
}

#[test]
fn names_of_targets_follow_the_rules() {
    let world = World::new();
    world.file("in/.hidden name", 10);
    std::fs::create_dir(world.path("folder")).unwrap();
    let share = world.share(&["in/.hidden name"]);
    for (target, expected) in
        [("folder", "folder/hidden name"), ("made/", "made/hidden name"), ("plain", "plain")]
    {
        let got = world.run(&["get", &share.link, "-o", target]);
        assert!(got.status.success(), "{target}: {}", text(&got.stderr));
        assert_eq!(std::fs::metadata(world.path(expected)).unwrap().len(), 10, "{expected}");
    }
    let got = world.run(&["get", &share.link]);
    assert!(got.status.success());
    assert!(world.path("hidden name").exists());
}

#[test]
fn a_whole_target_needs_nothing_and_another_is_not_touched() {
    let world = World::new();
    world.file("a", 700_000);
    let share = world.share(&["a"]);
    assert!(world.run(&["get", &share.link, "-o", "b"]).status.success());
    let again = world.run(&["get", &share.link, "-o", "b", "--json"]);
    assert!(again.status.success(), "{}", text(&again.stdout));
    assert_eq!(last_event(&again)["received_bytes"], 0);

    std::fs::write(world.path("b"), "something else").unwrap();
    let refused = world.run(&["get", &share.link, "-o", "b"]);
    assert_eq!(refused.status.code(), Some(7));
    assert!(text(&refused.stderr).contains("--force"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read(world.path("b")).unwrap(), b"something else");

    assert!(world.run(&["get", &share.link, "-o", "b", "--force"]).status.success());
    assert_eq!(std::fs::metadata(world.path("b")).unwrap().len(), 700_000);

    let link = share.link.clone();
    assert_eq!(share.stop(), Some(0));
    let alone = world.run(&["get", &link, "-o", "b", "--json"]);
    assert!(alone.status.success(), "nobody needs to be online: {}", text(&alone.stdout));
}

#[test]
fn a_folder_crosses_with_everything_that_can() {
    let world = World::new();
    world.file("tree/big", 900_000);
    world.file("tree/deep/er/small", 11);
    world.file("tree/empty", 0);
    std::fs::create_dir(world.path("tree/nothing inside")).unwrap();
    std::os::unix::fs::symlink("deep/er", world.path("tree/link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.path("tree/leaves")).unwrap();
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(world.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode("tree/big", 0o4755);
    mode("tree/deep", 0o700);
    let share = world.share(&["tree"]);
    let got = world.run(&["get", &share.link, "-o", "copy", "--json"]);
    assert!(got.status.success(), "{}", text(&got.stderr));
    std::fs::remove_file(world.path("tree/leaves")).unwrap();
    mode("tree/big", 0o755);
    let list = |name: &str| {
        let format = "%P %y %m %T@ %l\\n";
        let mut find = std::process::Command::new("find");
        let found = find.arg(world.path(name)).args(["-mindepth", "1", "-printf", format]).output();
        let mut lines: Vec<String> =
            text(&found.unwrap().stdout).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected: Vec<String> = list("tree");
    // Removing the link changed the folder's own time, which is not in the list.
    assert_eq!(list("copy"), expected);
    assert_eq!(
        std::fs::read(world.path("copy/big")).unwrap(),
        std::fs::read(world.path("tree/big")).unwrap()
    );
}

#[test]
fn several_paths_give_one_link() {
    let world = World::new();
    world.file("one", 5);
    world.file("two/three", 6);
    let share = world.share(&["one", "two"]);
    assert!(world.run(&["get", &share.link, "-o", "out"]).status.success());
    assert_eq!(std::fs::metadata(world.path("out/one")).unwrap().len(), 5);
    assert_eq!(std::fs::metadata(world.path("out/two/three")).unwrap().len(), 6);
}

#[test]
fn pipes_at_both_ends() {
    use std::io::Write as _;
    let world = World::new();
    let content = bytes(1_500_000, 9);
    let mut command = world.towpath(&["share", "--json", "-"]);
    command.stdin(Stdio::piped());
    let piped = content.clone();
    let mut source = std::process::Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    command.stdin(source.stdout.take().unwrap());
    let mut into = source.stdin.take().unwrap();
    let writer = std::thread::spawn(move || into.write_all(&piped).unwrap());
    let share = world.share_as(command);
    writer.join().unwrap();
    source.wait().unwrap();
    let got = finish(world.towpath(&["get", &share.link, "-o", "-"]).spawn().unwrap());
    assert!(got.status.success(), "{}", text(&got.stderr));
    assert_eq!(got.stdout, content);
}

#[test]
fn a_second_share_hashes_nothing_and_gives_the_same_link() {
    let world = World::new();
    world.file("a", 1_000_000);
    let first = world.share(&["a"]);
    let link = first.link.clone();
    assert_eq!(first.stop(), Some(0));
    let second = world.share(&["a"]);
    assert_eq!(second.link, link);
    assert!(world.run(&["get", &link, "-o", "b"]).status.success());
}

#[test]
fn once_and_count_end_after_so_many_receivers() {
    let world = World::new();
    world.file("a", 100_000);
    let share = world.share(&["a", "--count", "2"]);
    let gets: Vec<_> = ["b", "c"]
        .iter()
        .map(|name| world.towpath(&["get", &share.link, "-o", name]).spawn().unwrap())
        .collect();
    for get in gets {
        let got = finish(get);
        assert!(got.status.success(), "{}", text(&got.stderr));
    }
    assert_eq!(share.exit_code(), Some(0));
}

#[test]
fn a_get_that_came_too_early_waits_and_starts_by_itself() {
    let world = World::new();
    world.file("a", 100_000);
    let share = world.share(&["a"]);
    let link = share.link.clone();
    let tracker = World::new();
    drop(tracker);
    assert_eq!(share.stop(), Some(0));
    // Its own tracker is gone with it: the getter waits for that, too.
    let get = world.towpath(&["get", &link, "-o", "b", "--json"]).spawn().unwrap();
    let again = world.share(&["a"]);
    assert_eq!(again.link, link);
    let got = finish(get);
    assert!(got.status.success(), "{}", text(&got.stderr));
}

#[test]
fn inspect_and_id_tell_without_doing() {
    let world = World::new();
    world.file("a", 300_000);
    let inspected = world.run(&["inspect", "a", "--json"]);
    assert!(inspected.status.success(), "{}", text(&inspected.stderr));
    let said: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(said["length_bytes"], 300_000);
    assert_eq!(said["chunks"], 2);
    assert_eq!(said["root"].as_str().unwrap().len(), 64);
    let share = world.share(&["a", "--public"]);
    assert_eq!(share.first["id"], said["id"]);
    assert!(share.link.ends_with(said["id"].as_str().unwrap()), "{}", share.link);
    let link = world.run(&["inspect", &share.link, "--json"]);
    assert!(link.status.success(), "{}", text(&link.stderr));
    let id = world.run(&["id"]);
    assert_eq!(text(&id.stdout).trim().len(), 64);
    assert_eq!(id.stdout, world.run(&["id"]).stdout);
}

#[test]
fn a_changed_source_ends_in_a_sentence_and_no_file() {
    let world = World::new();
    let source = world.file("a", 3_000_000);
    let share = world.share(&["a"]);
    std::fs::write(&source, bytes(3_000_000, 77)).unwrap();
    let got = world.run(&["get", &share.link, "-o", "b", "--timeout", "2", "--json"]);
    assert!(!got.status.success());
    assert!(!world.path("b").exists());
    assert!(text(&got.stdout).contains("changed"), "{}", text(&got.stdout));
}

#[test]
fn many_commands_of_one_user_run_at_once_on_every_path() {
    let world = World::new();
    world.file("a", 1_200_000);
    world.file("b", 900_000);
    // Two of the three share the same file.
    let shares = [world.share(&["a"]), world.share(&["b"]), world.share(&["a"])];
    let mut gets = Vec::new();
    for (number, share) in shares.iter().enumerate() {
        for path in ["direct", "relay"] {
            let target = format!("{number}-{path}");
            let args = ["get", &share.link, "-o", &target, "--path", path];
            gets.push((target.clone(), world.towpath(&args).spawn().unwrap()));
        }
    }
    for (target, get) in gets {
        let got = finish(get);
        assert!(got.status.success(), "{target}: {}", text(&got.stderr));
        let source = if target.starts_with('1') { "b" } else { "a" };
        let (is, should) = (world.path(&target), world.path(source));
        assert_eq!(std::fs::read(is).unwrap(), std::fs::read(should).unwrap(), "{target}");
    }
}
