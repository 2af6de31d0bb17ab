//! The target `world` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("world");
