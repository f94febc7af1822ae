//! Fuzzes the target `http_append_plain` of the shared list.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_proof::targets::http_append_plain(bytes));
