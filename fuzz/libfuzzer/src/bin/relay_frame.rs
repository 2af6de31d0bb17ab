//! The target `relay_frame` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("relay_frame");
