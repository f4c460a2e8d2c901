use proptest::prelude::*;
use serde_json::json;

use super::*;

fn fixed(document: Value) -> Result<Normalised, String> {
    let capabilities = ["CAP_CHOWN".to_owned(), "CAP_KILL".to_owned()];
    normalise(
        &document,
        &Context {
            id: "c1",
            bundle: "/bundle",
            systemd_cgroup: false,
            available_capabilities: &capabilities,
        },
    )
}

fn minimal() -> Value {
    json!({"root": {"path": "/r"}, "linux": {"cgroupsPath": "/c1"}})
}

#[test]
fn leaves_a_sound_document_alone() {
    let normalised = fixed(minimal()).unwrap();
    assert_eq!(normalised.document, minimal());
    assert!(normalised.warnings.is_empty());
}

/// Each row: a place in the document, its value, and the expected value (null: absent).
#[test]
fn puts_right_what_libcontainer_refuses() {
    let rows = [
        ("/root/path", json!("rootfs"), json!("/bundle/rootfs")),
        ("/linux/cgroupsPath", json!(""), json!("/c1")),
        ("/linux/cgroupsPath", json!("a/b"), json!("/a/b")),
        ("/linux/rootfsPropagation", json!("rslave"), json!("rslave")),
        ("/linux/rootfsPropagation", json!(""), json!(null)),
        (
            "/linux/namespaces",
            json!([{"type": "pid", "path": ""}]),
            json!([{"type": "pid"}]),
        ),
        (
            "/mounts",
            json!([{"destination": "/proc", "type": "proc"}]),
            json!([{"destination": "/proc", "type": "proc", "source": "proc"}]),
        ),
        ("/process/noNewPrivileges", json!(false), json!(null)),
        ("/process/noNewPrivileges", json!(true), json!(true)),
        (
            "/process/capabilities",
            json!(null),
            json!({"bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": []}),
        ),
        ("/process/cwd", json!("/x"), json!("/x")),
        (
            "/process/capabilities/bounding",
            json!(["CAP_CHOWN", "CAP_NOSUCH", "CAP_SYS_RESOURCE"]),
            json!(["CAP_CHOWN"]),
        ),
    ];
    for (pointer, given, expected) in rows {
        let mut document = minimal();
        if pointer.starts_with("/process") {
            document["process"] = json!({"args": ["x"]});
        }
        let mut place = &mut document;
        for key in pointer.trim_start_matches('/').split('/') {
            place = &mut place[key];
        }
        *place = given;
        let result = fixed(document).unwrap().document;
        assert_eq!(
            result.pointer(pointer).cloned().unwrap_or(Value::Null),
            expected,
            "{pointer}"
        );
    }
}

#[test]
fn tells_of_capabilities_once() {
    let mut document = minimal();
    let names = json!(["CAP_FOO", "CAP_KILL"]);
    document["process"] =
        json!({"args": ["x"], "capabilities": {"bounding": names, "effective": names}});
    let warnings = fixed(document).unwrap().warnings;
    assert_eq!(
        warnings,
        ["ignoring unknown or unavailable capabilities: [CAP_FOO]"]
    );
}

#[test]
fn a_process_takes_what_it_leaves_open_from_the_container() {
    let container = json!({"noNewPrivileges": true, "capabilities": {"bounding": ["CAP_KILL"]}});
    let known = ["CAP_KILL".to_owned()];
    let given = json!({"args": ["x"], "apparmorProfile": ""});
    let (process, warnings) = process(&given, &container, &known).unwrap();
    assert_eq!(process["capabilities"]["bounding"], json!(["CAP_KILL"]));
    assert_eq!(process["capabilities"]["effective"], json!([]));
    assert_eq!(process["noNewPrivileges"], true);
    assert_eq!(process["user"], json!({"uid": 0, "gid": 0}));
    assert_eq!((process["cwd"].as_str(), warnings.len()), (Some("/"), 0));
    for (wrong, words) in [
        (json!([]), "not an object"),
        (json!({}), "args must not be empty"),
        (
            json!({"args": ["x"], "cwd": "y"}),
            "cwd must be an absolute path",
        ),
    ] {
        let error = super::process(&wrong, &container, &known).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn refuses_what_cannot_be() {
    let rows = [
        (json!([]), "not an object"),
        (
            json!({"process": {"env": ["a\u{0}"]}}),
            "/process/env/0 holds a NUL byte",
        ),
        (json!({"linux": {}}), "root is missing"),
        (json!({"root": {"path": "/r"}}), "linux is missing"),
        (
            json!({"root": {"path": "/r"}, "linux": {"cgroupsPath": "/"}}),
            "root of the hierarchy",
        ),
        (
            json!({"root": {"path": "/r"}, "linux": {"cgroupsPath": "../x"}}),
            "leads out",
        ),
        (
            json!({"root": {"path": "/r"}, "linux": {}, "mounts": [{"destination": "/x", "type": "bind"}]}),
            "has no source",
        ),
    ];
    for (document, words) in rows {
        let error = fixed(document.clone()).unwrap_err();
        assert!(error.contains(words), "{document}: {error}");
    }
}

/// Values of every kind, under the names that the code looks at.
fn any_value() -> impl Strategy<Value = Value> {
    let names = [
        "root",
        "path",
        "process",
        "args",
        "env",
        "cwd",
        "user",
        "uid",
        "capabilities",
        "bounding",
        "linux",
        "namespaces",
        "type",
        "cgroupsPath",
        "rootfsPropagation",
        "mounts",
        "destination",
        "source",
        "options",
        "noNewPrivileges",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![
            Just(""),
            Just("/"),
            Just("/x"),
            Just(".."),
            Just("bind"),
            Just("CAP_KILL")
        ]
        .prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        let name = proptest::sample::select(names.to_vec());
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name, inner, 0..6).prop_map(|map| map
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_ends_in_another_or_in_words(mut document in any_value(), with in any::<bool>()) {
        if with {
            document = json!({"root": {"path": "/r"}, "linux": {}, "process": document, "mounts": [document]});
        }
        if let Ok(normalised) = fixed(document.clone()) {
            let again = fixed(normalised.document.clone());
            prop_assert_eq!(again.map(|again| again.document), Ok(normalised.document));
        }
        let _ = process(&document, &document, &[]);
    }
}
