//! The target `manifest_to_disk` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("manifest_to_disk");
