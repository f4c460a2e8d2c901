//! The content of a CDI file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::name::{is_device, is_kind};

/// The newest supported version of the specification.
pub const VERSION: &str = "1.1.0";

/// All supported versions of the specification.
const VERSIONS: [&str; 9] = [
    "0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "1.0.0", VERSION,
];

/// A file: devices of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The version of the specification that the file follows.
    pub cdi_version: String,
    /// The kind of its devices, `vendor/class`.
    pub kind: String,
    /// Information for people and tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The devices.
    pub devices: Vec<Device>,
    /// The edits that every device needs in addition to its own.
    #[serde(default, skip_serializing_if = "ContainerEdits::is_empty")]
    pub container_edits: ContainerEdits,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    /// The device's name within the kind.
    pub name: String,
    /// Information for people and tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The changes that the device makes to a container.
    pub container_edits: ContainerEdits,
}

/// Changes to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerEdits {
    /// Environment variables, `NAME=VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Device nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_nodes: Vec<DeviceNode>,
    /// Mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Hooks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// Additional groups of the container's process.
    #[serde(
        default,
        rename = "additionalGids",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub additional_gids: Vec<u32>,
    /// The Intel RDT shares of caches and memory bandwidth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<serde_json::Value>,
    /// Network devices that are moved into the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net_devices: Vec<serde_json::Value>,
}

/// A device node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceNode {
    /// The node's path in the container.
    pub path: PathBuf,
    /// The node's path on the host, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<PathBuf>,
    /// The type of the node: `c`, `b`, `u` or `p`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The node's major number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// The node's minor number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// The node's permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// The permitted accesses: a subset of `rwm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<String>,
    /// The user id of the node's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group id of the node's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// The source path on the host.
    pub host_path: PathBuf,
    /// The destination path in the container.
    pub container_path: PathBuf,
    /// The mount options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// The type of the file system. Without a type, or with `bind`, the path is bind-mounted.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// A hook.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// The point in time: `createContainer` and so on.
    pub hook_name: String,
    /// The path of the hook's program.
    pub path: PathBuf,
    /// The program's arguments, including its own name as the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The program's environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The time limit, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

impl ContainerEdits {
    /// Whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Appends the changes of another list.
    pub fn extend(&mut self, others: &Self) {
        self.env.extend(others.env.iter().cloned());
        self.device_nodes
            .extend(others.device_nodes.iter().cloned());
        self.mounts.extend(others.mounts.iter().cloned());
        self.hooks.extend(others.hooks.iter().cloned());
        self.additional_gids.extend(&others.additional_gids);
        self.intel_rdt = self.intel_rdt.take().or_else(|| others.intel_rdt.clone());
        self.net_devices.extend(others.net_devices.iter().cloned());
    }

    fn check(&self) -> Result<(), String> {
        if let Some(one) = self.env.iter().find(|one| !one.contains('=')) {
            return Err(format!("env {one:?} is not NAME=VALUE"));
        }
        for node in &self.device_nodes {
            if !node.path.is_absolute() {
                return Err(format!(
                    "the device node {} is not absolute",
                    node.path.display()
                ));
            }
        }
        for mount in &self.mounts {
            if !mount.container_path.is_absolute() {
                let path = mount.container_path.display();
                return Err(format!("the mount on {path} is not absolute"));
            }
        }
        for hook in &self.hooks {
            if !HOOKS.contains(&hook.hook_name.as_str()) {
                return Err(format!("there is no hook {:?}", hook.hook_name));
            }
            if !hook.path.is_absolute() {
                return Err(format!("the hook {} is not absolute", hook.path.display()));
            }
        }
        Ok(())
    }
}

impl Spec {
    /// Checks the rules that the types do not enforce.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !VERSIONS.contains(&self.cdi_version.as_str()) {
            return Err(format!("cdiVersion {:?} is not known", self.cdi_version));
        }
        if !is_kind(&self.kind) {
            return Err(format!("the kind {:?} is not VENDOR/CLASS", self.kind));
        }
        if self.devices.is_empty() {
            return Err("it has no devices".to_owned());
        }
        let mut names = std::collections::BTreeSet::new();
        for device in &self.devices {
            if !is_device(&device.name) {
                return Err(format!("{:?} is no name of a device", device.name));
            }
            if !names.insert(&device.name) {
                return Err(format!("it has {:?} twice", device.name));
            }
            device.container_edits.check()?;
        }
        self.container_edits.check()
    }
}
