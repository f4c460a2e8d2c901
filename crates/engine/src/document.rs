//! A container's `config.json`.
//!
//! It stays plain JSON, because `oci-spec` refuses a whole document for one unknown word. The fields
//! that several steps read have a function each; all functions treat a field of a wrong type as an
//! absent one.

use std::ops::{Deref, DerefMut};

use libcontainer::oci_spec::runtime::Hook;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A field of the stored document, besides those of the [specification]: the container keeps the
/// caller's keyring.
///
/// [specification]: https://github.com/opencontainers/runtime-spec/blob/main/config.md
const KEEPS_KEYRING: &str = "slipwayKeepsKeyring";

/// A container's `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Document(Value);

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl Deref for Document {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl DerefMut for Document {
    fn deref_mut(&mut self) -> &mut Value {
        &mut self.0
    }
}

impl Document {
    /// Returns a text field at a JSON pointer (RFC 6901).
    fn text(&self, pointer: &str) -> Option<&str> {
        self.pointer(pointer).and_then(Value::as_str)
    }

    /// Returns the items of a list at a JSON pointer.
    fn list<'a>(&'a self, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        let list = self.pointer(pointer).and_then(Value::as_array);
        list.into_iter().flatten()
    }

    /// Returns the texts of a list at a JSON pointer.
    pub(crate) fn texts<'a>(&'a self, pointer: &str) -> Vec<&'a str> {
        self.list(pointer).filter_map(Value::as_str).collect()
    }

    /// Returns an object of the document, to change it.
    pub(crate) fn object_mut(&mut self, name: &str) -> Option<&mut Map<String, Value>> {
        self.get_mut(name).and_then(Value::as_object_mut)
    }

    /// Returns the path of the root file system.
    #[must_use]
    pub fn root_path(&self) -> Option<&str> {
        self.text("/root/path")
    }

    /// Returns the path of the cgroup.
    pub(crate) fn cgroup(&self) -> Option<&str> {
        self.text("/linux/cgroupsPath")
    }

    /// Returns the limits of the cgroup.
    pub(crate) fn resources(&self) -> Option<&Value> {
        self.pointer("/linux/resources")
    }

    /// Returns the rules for devices.
    pub(crate) fn devices(&self) -> Option<&Value> {
        self.pointer("/linux/resources/devices")
    }

    /// Whether the process wants a terminal.
    pub(crate) fn has_terminal(&self) -> bool {
        self.pointer("/process/terminal") == Some(&Value::Bool(true))
    }

    /// Returns the mounts.
    pub(crate) fn mounts(&self) -> impl Iterator<Item = &Value> {
        self.list("/mounts")
    }

    /// Returns the namespaces that the container gets.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &Value> {
        self.list("/linux/namespaces")
    }

    /// Whether a new namespace of a kind is made for the container.
    pub(crate) fn makes_namespace(&self, kind: &str) -> bool {
        let mut namespaces = self.namespaces();
        namespaces.any(|one| one["type"] == kind && one["path"].is_null())
    }

    /// Returns the path of the namespace of a kind that the container joins.
    pub(crate) fn joined_namespace(&self, kind: &str) -> Option<&str> {
        let mut namespaces = self.namespaces();
        namespaces.find(|one| one["type"] == kind)?["path"].as_str()
    }

    /// Whether the document has hooks of a point.
    pub(crate) fn has_hooks(&self, point: &str) -> bool {
        let hooks = self.pointer(&format!("/hooks/{point}"));
        hooks.is_some_and(|hooks| hooks.as_array().is_none_or(|list| !list.is_empty()))
    }

    /// Returns the hooks of a point.
    ///
    /// # Errors
    ///
    /// Fails when they are not as the specification has them.
    pub(crate) fn hooks(&self, point: &str) -> Result<Vec<Hook>, serde_json::Error> {
        let hooks = self.pointer(&format!("/hooks/{point}")).cloned();
        hooks.map_or_else(|| Ok(Vec::new()), serde_json::from_value)
    }

    /// Marks the document: its container's processes keep the session keyring of their caller.
    pub(crate) fn keep_keyring(&mut self) {
        if let Some(document) = self.as_object_mut() {
            document.insert(KEEPS_KEYRING.to_owned(), true.into());
        }
    }

    /// Whether the document has the mark of [`keep_keyring`](Self::keep_keyring).
    pub(crate) fn keeps_keyring(&self) -> bool {
        self[KEEPS_KEYRING] == true
    }
}
