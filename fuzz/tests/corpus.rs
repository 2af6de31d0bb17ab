//! Every input that is kept for a fuzz target still holds.

use std::collections::BTreeSet;

use towpath_fuzz::{corpus, targets};

macro_rules! replay {
    ($($name:ident)*) => {
        const REPLAYED: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            let target = targets::find(stringify!($name)).expect("there is such a target");
            let inputs = corpus::replay(target).expect("inputs are readable");
            assert!(inputs >= 2, "a target has seeds");
        })*
    };
}

replay! {
    chunk_frame hub id link manifest manifest_to_disk merkle name noise preamble record relay_client
    relay_frame session_frames session_wire share_cache target_resume token tracker_reply
    tracker_request websocket wire_message world
}

#[test]
fn every_target_has_its_test_its_program_and_small_inputs() {
    let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
    let mut replayed = REPLAYED.to_vec();
    replayed.sort_unstable();
    assert_eq!(names, replayed, "names in order");
    let names = BTreeSet::from_iter(names.iter().map(ToString::to_string));
    let programs = names_in("libfuzzer/src/bin");
    let programs = programs.iter().map(|name| name.trim_end_matches(".rs").to_owned());
    assert_eq!(programs.collect::<BTreeSet<_>>(), names);
    for kind in ["corpus", "regressions"] {
        assert!(names_in(kind).is_subset(&names), "a folder of {kind} has no target");
    }
    let mut total = 0;
    for target in targets::ALL {
        for input in corpus::inputs(target).expect("inputs are readable") {
            let length = input.bytes.len();
            assert!(length <= target.max_input_bytes, "{}: {length} bytes", input.name);
            total += length;
        }
    }
    assert!(total < 2 << 20, "{total} bytes of inputs are too many to be kept");
}

/// Names in a folder of the package that do not begin with a dot; none if it is not there.
fn names_in(folder: &str) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(corpus::folder().join(folder)) else {
        return BTreeSet::new();
    };
    let names = entries.map(|entry| entry.expect("it is readable").file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|n| !n.starts_with('.')).collect()
}
