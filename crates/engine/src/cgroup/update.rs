//! Changing the limits of an existing container.

use std::fs;
use std::path::{Path, PathBuf};

use libcgroups::common::{CgroupManager, ControllerOpt};
use libcontainer::oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};

use super::{Cgroup, MOUNTED, is_unified};
use crate::Error;
use crate::error::of_library;

impl Cgroup {
    /// Sets the limits that a specification's resources ask for, if they ask for any.
    pub(crate) fn limit(&self, resources: Option<&Value>) -> Result<(), Error> {
        match resources.filter(|resources| has_limits(resources)) {
            Some(resources) => self.apply(resources),
            None => Ok(()),
        }
    }

    /// Applies resources to the cgroup.
    pub(crate) fn apply(&self, resources: &Value) -> Result<(), Error> {
        refuse_without_controller(&self.path, resources)?;
        self.make_room_for_quota(resources);
        self.make_room_for_runtime(resources);
        let typed: LinuxResources = serde_json::from_value(resources.clone())
            .map_err(|error| Error::Resources(error.to_string()))?;
        let options = ControllerOpt {
            resources: &typed,
            disable_oom_killer: resources["memory"]["disableOOMKiller"] == true,
            oom_score_adj: None,
            freezer_state: None,
        };
        self.manager()?
            .apply(&options)
            .map_err(|error| Error::Resources(of_library(&error)))?;
        self.set_rest(resources)
    }

    /// Sets what libcgroups leaves out: the burst of processors without a quota, and the weights of
    /// leaves and of single devices, for the scheduler BFQ or on older kernels CFQ
    /// (Documentation/block/bfq-iosched.rst).
    fn set_rest(&self, resources: &Value) -> Result<(), Error> {
        let (cpu, block) = (&resources["cpu"], &resources["blockIO"]);
        let burst = ["cpu.cfs_burst_us", "cpu.max.burst"];
        self.set("cpu.burst", &cpu["burst"], "", ("cpu", &burst))?;
        let leaf = &block["leafWeight"];
        self.set(
            "blockIO.leafWeight",
            leaf,
            "",
            ("blkio", &["blkio.leaf_weight"]),
        )?;
        for device in block["weightDevice"].as_array().into_iter().flatten() {
            let property = "blockIO.weightDevice";
            let number = format!("{}:{} ", device["major"], device["minor"]);
            let weights = [
                "io.bfq.weight",
                "blkio.bfq.weight_device",
                "blkio.weight_device",
            ];
            self.set(property, &device["weight"], &number, ("blkio", &weights))?;
            let leaves = ["blkio.leaf_weight_device"];
            self.set(property, &device["leafWeight"], &number, ("blkio", &leaves))?;
        }
        Ok(())
    }

    /// Writes a number that is not 0, behind a device's, to the first of these files of a controller
    /// that the cgroup has.
    fn set(
        &self,
        property: &str,
        value: &Value,
        device: &str,
        (controller, names): (&str, &[&str]),
    ) -> Result<(), Error> {
        let Some(value) = value.as_u64().filter(|value| *value > 0) else {
            return Ok(());
        };
        let failed =
            |reason: &str| Error::Resources(format!("{property}: {device}{value}: {reason}"));
        let directory = match is_unified() {
            true => self.directory(""),
            false => self.directory(controller),
        };
        let mut files = names.iter().map(|name| directory.join(name));
        let file = files
            .find(|file| file.exists())
            .ok_or_else(|| failed("this kernel does not have it"))?;
        fs::write(&file, format!("{device}{value}"))
            .map_err(|error| failed(&format!("{}: {}", file.display(), text::message(&error))))
    }

    /// Returns the cgroup's directory in an old hierarchy, or with an empty name in the unified one.
    fn directory(&self, hierarchy: &str) -> PathBuf {
        let path = self.path.strip_prefix("/").unwrap_or(&self.path);
        Path::new(MOUNTED).join(hierarchy).join(path)
    }

    /// Writes the quota first where the new period alone would give the cgroup more than the cgroup
    /// above has: the old hierarchy takes both in one order only then. libcgroups begins with the
    /// period.
    fn make_room_for_quota(&self, resources: &Value) {
        let number = |name: &str| resources["cpu"][name].as_i64();
        let (Some(period), Some(quota)) = (number("period"), number("quota")) else {
            return;
        };
        let directory = self.directory("cpu");
        let write = |name: &str, value: i64| fs::write(directory.join(name), value.to_string());
        if directory.is_dir() && write("cpu.cfs_period_us", period).is_err() {
            let _ = write("cpu.cfs_quota_us", quota);
        }
    }

    /// Writes the real-time period first, which libcgroups writes last. The kernel refuses it where it
    /// becomes shorter than the present runtime, and the new runtime has to come first.
    fn make_room_for_runtime(&self, resources: &Value) {
        let directory = self.directory("cpu");
        if let Some(period) = resources["cpu"]["realtimePeriod"].as_u64() {
            let _ = fs::write(directory.join("cpu.rt_period_us"), period.to_string());
        }
    }
}

/// Whether resources ask for any limit. In the unified hierarchy, the devices are none: a program
/// filters them.
pub(crate) fn has_limits(resources: &Value) -> bool {
    let Some(resources) = resources.as_object() else {
        return false;
    };
    let mut set = resources.iter().filter(|(_, value)| is_set(value));
    set.any(|(name, _)| name != "devices" || !is_unified())
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(map) => map.values().any(|value| !value.is_null()),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    }
}

/// Refuses limits whose controller the unified hierarchy does not have here, and names the
/// controller. libcgroups would name a missing file.
fn refuse_without_controller(path: &Path, resources: &Value) -> Result<(), Error> {
    const CONTROLLERS: [(&str, &str); 6] = [
        ("memory", "memory"),
        ("cpu", "cpu"),
        ("pids", "pids"),
        ("blockIO", "io"),
        ("hugepageLimits", "hugetlb"),
        // Of version 1 only.
        ("network", "net_cls"),
    ];
    let directory = Path::new(MOUNTED).join(path.strip_prefix("/").unwrap_or(path));
    let Ok(available) = fs::read_to_string(directory.join("cgroup.controllers")) else {
        return Ok(());
    };
    let unified = resources.get("unified").and_then(Value::as_object);
    for key in unified.into_iter().flat_map(Map::keys) {
        let Some((controller, _)) = key.split_once('.') else {
            return Err(Error::Resources(format!(
                "unified: the specified key has not the form CONTROLLER.VALUE `{key}`"
            )));
        };
        // Files of the cgroup itself need none.
        let is_core = controller == "cgroup";
        if !is_core && !available.split_whitespace().any(|one| one == controller) {
            return Err(Error::Resources(format!(
                "unified: the requested cgroup controller `{controller}` is not available in {}",
                directory.display()
            )));
        }
    }
    for (section, controller) in CONTROLLERS {
        let wanted = resources.get(section).is_some_and(is_set);
        if wanted && !available.split_whitespace().any(|one| one == controller) {
            return Err(Error::Resources(format!(
                "{section} needs the cgroup controller {controller}, which {} does not have; it has: {}",
                directory.display(),
                available.trim()
            )));
        }
    }
    Ok(())
}

/// Returns the resources to apply so that `changes` take effect and everything else stays as in
/// `current`: the complete settings of each controller that `changes` touches.
pub(crate) fn touched(current: &Value, changes: &Value) -> Value {
    let mut result = Map::new();
    for (controller, change) in changes.as_object().into_iter().flatten() {
        // The devices are decided once.
        if controller == "devices" || change.is_null() {
            continue;
        }
        let mut whole = current.get(controller).cloned().unwrap_or(Value::Null);
        merge(&mut whole, change);
        if controller == "memory" && change["limit"] == -1 && change["swap"].is_null() {
            // The kernel wants no less for both than for the memory alone.
            whole["swap"] = (-1).into();
        }
        if controller == "cpu"
            && change["shares"].is_null()
            && let Some(cpu) = whole.as_object_mut()
        {
            // It stays as it is, and an idle cgroup takes none.
            cpu.remove("shares");
        }
        result.insert(controller.clone(), whole);
    }
    Value::Object(result)
}

/// Overwrites values by the given ones. Engines use an empty value to mean "unchanged".
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
