//! The target `token` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("token");
