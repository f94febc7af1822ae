//! Fuzzes the target `grpc_frames` of the shared list.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_proof::targets::grpc_frames(bytes));
