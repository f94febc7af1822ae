//! Fuzzes the target `management_event` of the shared list.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_proof::targets::management_event(bytes));
