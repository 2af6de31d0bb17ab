//! The target `record` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("record");
