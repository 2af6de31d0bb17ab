//! The target `link` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("link");
