//! The target `preamble` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("preamble");
