//! Fuzzes the target `connector_file` of the shared list.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_proof::targets::connector_file(bytes));
