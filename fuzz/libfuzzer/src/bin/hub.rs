//! The target `hub` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("hub");
