//! Fuzzes the target `script` of the shared list.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_proof::targets::script(bytes));
