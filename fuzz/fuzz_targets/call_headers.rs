//! Fuzzes the target `call_headers` of the shared list.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_proof::targets::call_headers(bytes));
