//! The target `websocket` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("websocket");
