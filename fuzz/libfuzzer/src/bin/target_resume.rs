//! The target `target_resume` under libFuzzer.
#![no_main]

towpath_libfuzzer::target!("target_resume");
