//! The target `chunk_frame` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("chunk_frame");
