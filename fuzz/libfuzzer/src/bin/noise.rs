//! The target `noise` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("noise");
