//! Any document is a process that can be started in a container, or is refused with a message.

#![no_main]

use engine::normalise::process;
use libfuzzer_sys::fuzz_target;
use oci_spec::runtime::Process;
use serde_json::Value;

// Two documents with a zero byte between them: the requested process, and the process of the
// container.
fuzz_target!(|data: &[u8]| {
    let middle = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (asked, rest) = data.split_at(middle);
    let Ok(asked) = serde_json::from_slice::<Value>(asked) else {
        return;
    };
    let container: Value =
        serde_json::from_slice(rest.get(1..).unwrap_or_default()).unwrap_or(Value::Null);
    let capabilities = ["CAP_KILL".to_owned(), "CAP_CHOWN".to_owned()];
    // A container's document is stored in its normalised form.
    let container = process(&container, &Value::Null, &capabilities);
    let container = container.map_or(Value::Null, |(container, _)| container);
    let Ok((normalised, _)) = process(&asked, &container, &capabilities) else {
        return;
    };
    // A normalised process does not change again, and gets no capability that was not available.
    let again = process(&normalised, &container, &capabilities).map(|(again, _)| again);
    assert_eq!(again.as_ref(), Ok(&normalised));
    if let Some(sets) = normalised["capabilities"].as_object() {
        let lists = sets.values().filter_map(Value::as_array);
        let mut names = lists.flatten().filter_map(Value::as_str);
        assert!(names.all(|name| capabilities.iter().any(|known| known == name)));
    }
    if let Ok(process) = serde_json::from_value::<Process>(normalised) {
        assert!(process.args().as_ref().is_some_and(|args| !args.is_empty()));
        assert!(process.cwd().is_absolute());
    }
});
