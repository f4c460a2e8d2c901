//! Changing the limits of a container that exists.

use std::path::Path;

use libcgroups::common::{CgroupManager, ControllerOpt};
use libcontainer::oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};

use super::manager;
use crate::Error;

/// Applies resources to a cgroup.
pub(crate) fn apply(path: &Path, systemd: bool, id: &str, resources: &Value) -> Result<(), Error> {
    let resources: LinuxResources = serde_json::from_value(resources.clone())
        .map_err(|error| Error::Resources(error.to_string()))?;
    let options = ControllerOpt {
        resources: &resources,
        disable_oom_killer: false,
        oom_score_adj: None,
        freezer_state: None,
    };
    manager(path, systemd, id)?
        .apply(&options)
        .map_err(|error| Error::Resources(sys::one_line(&error)))
}

/// Returns what has to be applied so that `changes` hold, and what is not named in them stays as in
/// `current`: the whole of each controller that they touch.
pub(crate) fn touched(current: &Value, changes: &Value) -> Value {
    let mut result = Map::new();
    for (controller, change) in changes.as_object().into_iter().flatten() {
        // Which devices there are is decided once.
        if controller == "devices" || change.is_null() {
            continue;
        }
        let mut whole = current.get(controller).cloned().unwrap_or(Value::Null);
        merge(&mut whole, change);
        result.insert(controller.clone(), whole);
    }
    Value::Object(result)
}

/// Overwrites values by those that are given; what engines mean by an empty one is "as it is".
pub(crate) fn merge(base: &mut Value, change: &Value) {
    match (base, change) {
        (_, Value::Null) => {}
        (Value::Object(base), Value::Object(change)) => {
            for (name, value) in change {
                merge(base.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let current = json!({
            "cpu": {"quota": 5000, "period": 10000},
            "memory": {"limit": 1},
            "devices": [{"allow": false}],
        });
        let changes = json!({
            "cpu": {"quota": 7000, "period": null},
            "pids": {"limit": 3},
            "devices": [],
            "memory": null,
        });
        assert_eq!(
            touched(&current, &changes),
            json!({"cpu": {"quota": 7000, "period": 10000}, "pids": {"limit": 3}})
        );
    }
}
