//! The target `manifest` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("manifest");
