//! Fuzzes the target `settings_json` of the shared list.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_proof::targets::settings_json(bytes));
