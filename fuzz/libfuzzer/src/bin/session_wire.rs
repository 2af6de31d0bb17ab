//! The target `session_wire` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("session_wire");
