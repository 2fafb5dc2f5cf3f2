//! See `genesys_gateway::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| genesys_gateway::fuzzing::run("files", data));
