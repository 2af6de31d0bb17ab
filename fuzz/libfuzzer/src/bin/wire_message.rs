//! The target `wire_message` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("wire_message");
