//! Fuzzes the target `retry_after` of the shared list.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_proof::targets::retry_after(bytes));
