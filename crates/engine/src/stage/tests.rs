use super::*;

fn kind(mount: Value, namespaces: Value) -> Kind {
    let container = Container::of(&json!({"linux": {"namespaces": namespaces}}).into());
    Kind::of(&mount, &container)
}

#[test]
fn only_what_libcontainer_cannot_do_needs_it() {
    let none = || json!([{"type": "mount"}]);
    let user = || json!([{"type": "mount"}, {"type": "user"}]);
    let rows = [
        (json!({"type": "proc"}), none(), false, false),
        (
            json!({"type": "tmpfs", "options": ["mode=755"]}),
            none(),
            false,
            false,
        ),
        (
            json!({"type": "tmpfs", "options": ["tmpcopyup"]}),
            none(),
            true,
            true,
        ),
        (json!({"options": ["rbind", "ro"]}), none(), false, false),
        (json!({"options": ["rbind", "ro"]}), user(), true, false),
        (
            json!({"options": ["rbind", "rprivate"]}),
            none(),
            true,
            false,
        ),
        (
            json!({"options": ["bind", "rshared"]}),
            none(),
            false,
            false,
        ),
        (
            json!({"type": "bind", "options": ["ridmap"]}),
            none(),
            true,
            true,
        ),
        (
            json!({"type": "bind", "uidMappings": [{}]}),
            none(),
            true,
            true,
        ),
    ];
    for (mount, namespaces, needed, required) in rows {
        let kind = kind(mount.clone(), namespaces);
        assert_eq!(
            (kind.is_needed(), kind.is_required()),
            (needed, required),
            "{mount}"
        );
    }
}

#[test]
fn the_last_propagation_counts() {
    let kind = kind(
        json!({"options": ["rbind", "rprivate", "rslave"]}),
        json!([]),
    );
    assert!(matches!(
        kind,
        Kind::Bind {
            propagation: Some((Propagation::Slave, true)),
            recursive: true,
            ..
        }
    ));
}

#[test]
fn root_has_a_number_outside() {
    let mappings = json!([{"containerID": 5, "hostID": 1, "size": 1}, {"containerID": 0, "hostID": 100_000, "size": 9}]);
    assert_eq!(Container::root_id(&mappings), 100_000);
    assert_eq!(Container::root_id(&Value::Null), 0);
}
