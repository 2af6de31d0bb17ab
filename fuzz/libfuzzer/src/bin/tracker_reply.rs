//! The target `tracker_reply` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("tracker_reply");
