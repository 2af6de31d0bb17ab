//! The target `merkle` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("merkle");
