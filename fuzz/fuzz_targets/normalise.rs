//! Any document is normalised, or refused with a message.

#![no_main]

use engine::normalise::{Context, normalise, process};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(document) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let capabilities = ["CAP_KILL".to_owned()];
    let context = Context {
        id: "c1",
        bundle: "/bundle",
        systemd_cgroup: data.len() % 2 == 0,
        available_capabilities: &capabilities,
    };
    if let Ok(normalised) = normalise(&document, &context) {
        // A normalised document does not change again.
        let again = normalise(&normalised.document, &context);
        assert_eq!(again.map(|again| again.document), Ok(normalised.document));
    }
    let _ = process(&document, &document, &capabilities);
});
