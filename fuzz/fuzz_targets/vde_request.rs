#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz::vde_request(data);
});
