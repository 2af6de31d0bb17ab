//! The target `tracker_request` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("tracker_request");
