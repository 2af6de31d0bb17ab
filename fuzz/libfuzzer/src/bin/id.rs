//! The target `id` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("id");
