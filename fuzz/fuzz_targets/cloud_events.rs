//! Fuzzes the target `cloud_events` of the shared list.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_proof::targets::cloud_events(bytes));
