//! The target `relay_client` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("relay_client");
