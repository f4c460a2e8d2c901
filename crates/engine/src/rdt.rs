//! A container's share of the cache and of the memory's bandwidth by Intel's Resource Director
//! Technology (Documentation/arch/x86/resctrl.rst).

use std::fs;
use std::path::Path;

use crate::{Document, Error};

/// The mount point of the kernel's groups.
const MOUNTED: &str = "/sys/fs/resctrl";

/// Writes a schema such as `L3:0=f` to the group of the container with this document.
pub(crate) fn set(document: &Document, id: &str, schema: &str) -> Result<(), Error> {
    let rdt = document.pointer("/linux/intelRdt");
    let rdt = rdt
        .filter(|rdt| !rdt.is_null())
        .ok_or_else(|| Error::Resources("the container has no linux.intelRdt".to_owned()))?;
    let group = rdt["closID"].as_str().unwrap_or(id);
    // The name comes from a document, and must not lead to another directory.
    if group.contains('/') || group.starts_with('.') {
        return Err(Error::Resources(format!("closID {group}: not a name")));
    }
    let path = Path::new(MOUNTED).join(group).join("schemata");
    fs::write(&path, format!("{schema}\n")).map_err(Error::state("write", path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_container_that_has_a_group_has_a_schema() {
        let none = set(&json!({"linux": {}}).into(), "c1", "L3:0=f").unwrap_err();
        assert!(none.to_string().contains("no linux.intelRdt"));
        let out = json!({"linux": {"intelRdt": {"closID": "../../etc"}}});
        let out = set(&out.into(), "c1", "L3:0=f").unwrap_err();
        assert!(out.to_string().contains("not a name"));
    }
}
