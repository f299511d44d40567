#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    assay_fuzz_targets::run("base_messages", data);
});
