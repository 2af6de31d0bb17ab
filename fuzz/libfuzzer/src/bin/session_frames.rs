//! The target `session_frames` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("session_frames");
