//! The target `name` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("name");
