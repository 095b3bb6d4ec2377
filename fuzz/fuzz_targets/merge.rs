#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| beamscope_fuzz::merge(data));
