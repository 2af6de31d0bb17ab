//! The target `share_cache` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("share_cache");
