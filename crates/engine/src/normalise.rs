//! Corrects specifications that libcontainer refuses or reads wrongly.
//!
//! This module is pure: it takes a JSON document and returns the same or a better one. It works on
//! plain JSON because `oci-spec` refuses a whole document for one unknown word.

use serde_json::{Map, Value, json};

/// The inputs that the result depends on besides the document.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle's absolute path.
    pub bundle: &'a str,
    /// Whether systemd manages the cgroups.
    pub systemd_cgroup: bool,
    /// The capabilities that this process could grant, as `CAP_X`.
    pub available_capabilities: &'a [String],
}

/// A document that libcontainer accepts.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalised {
    /// The document.
    pub document: Value,
    /// Messages for the user.
    pub warnings: Vec<String>,
}

/// Normalises a document.
///
/// # Errors
///
/// Returns a message about a request that cannot be carried out.
pub fn normalise(document: &Value, context: &Context<'_>) -> Result<Normalised, String> {
    refuse_nul(document, "")?;
    let mut fixed = without_nulls(document);
    let mut warnings = Vec::new();
    let Some(spec) = fixed.as_object_mut() else {
        return Err("the document is not an object".to_owned());
    };
    root_path(spec, context)?;
    cgroups_path(spec, context)?;
    if let Some(process) = object(spec, "process") {
        complete_process(process, context.available_capabilities, &mut warnings)?;
    }
    if let Some(linux) = object(spec, "linux") {
        namespaces(linux);
        resources(linux);
        propagation(linux)?;
    }
    if let Some(mounts) = spec.get_mut("mounts").and_then(Value::as_array_mut) {
        for mount in mounts.iter_mut().filter_map(Value::as_object_mut) {
            self::mount(mount, context)?;
        }
    }
    Ok(Normalised {
        document: fixed,
        warnings,
    })
}

/// Normalises a process that is to be started in a container. As in runc, settings that it lacks
/// are taken from the container's own process. Also returns messages for the user.
///
/// # Errors
///
/// Returns a message about the fault in the process.
pub fn process(
    document: &Value,
    container: &Value,
    available_capabilities: &[String],
) -> Result<(Value, Vec<String>), String> {
    refuse_nul(document, "")?;
    let mut fixed = without_nulls(document);
    let mut warnings = Vec::new();
    let process = fixed.as_object_mut().ok_or("it is not an object")?;
    for name in [
        "capabilities",
        "apparmorProfile",
        "noNewPrivileges",
        "rlimits",
        "selinuxLabel",
    ] {
        let open = process
            .get(name)
            .is_none_or(|value| value.is_null() || *value == "");
        if let Some(value) = container.get(name).filter(|_| open) {
            process.insert(name.to_owned(), value.clone());
        }
    }
    complete_process(process, available_capabilities, &mut warnings)?;
    Ok((fixed, warnings))
}

/// Refuses strings with a NUL byte. The kernel would cut them off there, and some are used only
/// when errors can no longer be reported.
fn refuse_nul(value: &Value, at: &str) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains('\0') => Err(format!("{at} holds a NUL byte")),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .try_for_each(|(number, value)| refuse_nul(value, &format!("{at}/{number}"))),
        Value::Object(map) => map
            .iter()
            .try_for_each(|(name, value)| refuse_nul(value, &format!("{at}/{name}"))),
        _ => Ok(()),
    }
}

/// Removes null values, which mean an absent field, as in Go. `oci-spec` accepts them only in some
/// places.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        value => value.clone(),
    }
}

/// Highest id of a user or group that runc accepts. To the kernel, 4294967295 means "no change", so
/// the program would keep root's id (setresuid(2); the class of CVE-2024-40635).
const LAST_ID: u64 = i32::MAX as u64;

fn check_id(name: &str, id: &Value) -> Result<(), String> {
    match id.as_u64() {
        Some(0..=LAST_ID) => Ok(()),
        _ => Err(format!(
            "user: {name}: {id} is not in the range 0 to {LAST_ID}"
        )),
    }
}

/// Fills in fields that `oci-spec` requires, as runc does. An absent set of capabilities is an
/// empty one.
fn complete_process(
    process: &mut Map<String, Value>,
    available_capabilities: &[String],
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    // If libcontainer sees `false`, it loads a filter after the capabilities are gone.
    if process.get("noNewPrivileges") == Some(&Value::Bool(false)) {
        process.remove("noNewPrivileges");
    }
    let user = process.entry("user").or_insert_with(|| json!({}));
    if let Some(user) = user.as_object_mut() {
        for id in ["uid", "gid"] {
            check_id(id, user.entry(id).or_insert_with(|| json!(0)))?;
        }
        let additional = user.get("additionalGids").and_then(Value::as_array);
        { additional.into_iter().flatten() }.try_for_each(|gid| check_id("additionalGids", gid))?;
    }
    let cwd = process.entry("cwd").or_insert_with(|| json!("/"));
    if !cwd.as_str().is_some_and(|cwd| cwd.starts_with('/')) {
        return Err(format!("cwd must be an absolute path: {cwd}"));
    }
    if process
        .get("args")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        return Err("args must not be empty".to_owned());
    }
    let sets = process.entry("capabilities").or_insert_with(|| json!({}));
    if let Some(sets) = sets.as_object_mut() {
        for set in [
            "bounding",
            "effective",
            "inheritable",
            "permitted",
            "ambient",
        ] {
            sets.entry(set).or_insert_with(|| json!([]));
        }
    }
    capabilities(process, available_capabilities, warnings);
    Ok(())
}

fn object<'a>(
    parent: &'a mut Map<String, Value>,
    name: &str,
) -> Option<&'a mut Map<String, Value>> {
    parent.get_mut(name).and_then(Value::as_object_mut)
}

fn text<'a>(parent: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    parent.get(name).and_then(Value::as_str)
}

/// Makes the root's path absolute, because the document may be read from a place other than the
/// bundle.
fn root_path(spec: &mut Map<String, Value>, context: &Context<'_>) -> Result<(), String> {
    let root = object(spec, "root").ok_or("root is missing")?;
    let path = text(root, "path")
        .filter(|path| !path.is_empty())
        .ok_or("root.path is missing")?;
    if !path.starts_with('/') {
        let path = format!("{}/{path}", context.bundle);
        root.insert("path".to_owned(), path.into());
    }
    Ok(())
}

/// Makes the cgroup's path absolute. With an absolute path, libcontainer always uses the file
/// system. A relative path would go to systemd, or fail, as soon as there is a user namespace.
fn cgroups_path(spec: &mut Map<String, Value>, context: &Context<'_>) -> Result<(), String> {
    let linux = object(spec, "linux").ok_or("linux is missing")?;
    let path = text(linux, "cgroupsPath").unwrap_or_default();
    if context.systemd_cgroup {
        if !path.is_empty() && path.split(':').count() != 3 {
            return Err(format!(
                "cgroupsPath {path:?}: systemd expects slice:prefix:name"
            ));
        }
        return Ok(());
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!("cgroupsPath {path:?} leads out of the hierarchy"));
    }
    let absolute = match path {
        "" => format!("/{}", context.id),
        path => {
            let parts = path
                .split('/')
                .filter(|part| !part.is_empty() && *part != ".");
            format!("/{}", parts.collect::<Vec<_>>().join("/"))
        }
    };
    if absolute == "/" {
        return Err("cgroupsPath is the root of the hierarchy".to_owned());
    }
    linux.insert("cgroupsPath".to_owned(), absolute.into());
    Ok(())
}

/// Removes capabilities that are unknown or that the host cannot grant. The specification asks for
/// a warning instead of an error.
fn capabilities(
    process: &mut Map<String, Value>,
    available: &[String],
    warnings: &mut Vec<String>,
) {
    let Some(sets) = object(process, "capabilities") else {
        return;
    };
    let mut left_out: Vec<String> = Vec::new();
    for set in sets.values_mut().filter_map(Value::as_array_mut) {
        set.retain(|name| {
            let name = name.as_str().unwrap_or_default();
            let is_available = available.iter().any(|known| known == name);
            if !is_available && !left_out.iter().any(|known| known == name) {
                left_out.push(name.to_owned());
            }
            is_available
        });
    }
    let has = |sets: &Map<String, Value>, set: &str, name: &Value| {
        let set = sets.get(set).and_then(Value::as_array);
        set.is_some_and(|set| set.contains(name))
    };
    let ambient = sets.get("ambient").and_then(Value::as_array);
    let mut kept = Vec::new();
    for name in ambient.into_iter().flatten() {
        // The kernel takes only those of both other sets, capabilities(7).
        if has(sets, "permitted", name) && has(sets, "inheritable", name) {
            kept.push(name.clone());
        } else {
            let name = name.as_str().unwrap_or_default();
            warnings.push(format!(
                "can't raise ambient capability {name}: it is not permitted and inheritable"
            ));
        }
    }
    if sets.contains_key("ambient") {
        sets.insert("ambient".to_owned(), kept.into());
    }
    if !left_out.is_empty() {
        let names = left_out.join(" ");
        warnings.push(format!(
            "ignoring unknown or unavailable capabilities: [{names}]"
        ));
    }
}

/// Corrects limits that mean something else to the kernel: as in runc, no process more than the first
/// for a limit of 0, and only the letters of devices' accesses that there are.
fn resources(linux: &mut Map<String, Value>) {
    let Some(resources) = object(linux, "resources") else {
        return;
    };
    limit_processes(resources);
    let devices = resources.get_mut("devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        let access = device["access"].as_str().map(str::to_owned);
        if let Some(access) = access.filter(|access| !access.is_empty()) {
            let known = access.chars().filter(|letter| "rwm".contains(*letter));
            device["access"] = known.collect::<String>().into();
        }
    }
}

/// Makes a limit of 0 processes one of 1.
pub(crate) fn limit_processes(resources: &mut Map<String, Value>) {
    if let Some(pids) = object(resources, "pids")
        && pids.get("limit") == Some(&json!(0))
    {
        pids.insert("limit".to_owned(), json!(1));
    }
}

/// Removes empty paths, which mean a new namespace.
fn namespaces(linux: &mut Map<String, Value>) {
    let namespaces = linux.get_mut("namespaces").and_then(Value::as_array_mut);
    for namespace in namespaces
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        if text(namespace, "path") == Some("") {
            namespace.remove("path");
        }
    }
}

/// Refuses a word that names no propagation.
fn propagation(linux: &mut Map<String, Value>) -> Result<(), String> {
    const WORDS: [&str; 8] = [
        "shared",
        "slave",
        "private",
        "unbindable",
        "rshared",
        "rslave",
        "rprivate",
        "runbindable",
    ];
    match text(linux, "rootfsPropagation") {
        Some("") => {
            linux.remove("rootfsPropagation");
            Ok(())
        }
        Some(word) if !WORDS.contains(&word) => {
            Err(format!("rootfsPropagation {word:?} is not supported"))
        }
        _ => Ok(()),
    }
}

fn mount(mount: &mut Map<String, Value>, context: &Context<'_>) -> Result<(), String> {
    let destination = text(mount, "destination").unwrap_or_default().to_owned();
    if destination.is_empty() {
        return Err("a mount has no destination".to_owned());
    }
    let options: Vec<String> = mount
        .get("options")
        .and_then(Value::as_array)
        .map(|words| {
            words
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    let has = |word: &str| options.iter().any(|option| option == word);
    let bind = has("bind") || has("rbind") || text(mount, "type") == Some("bind");
    if text(mount, "source").unwrap_or_default().is_empty() {
        if bind {
            return Err(format!("the bind mount at {destination} has no source"));
        }
        let kind = text(mount, "type").unwrap_or("none").to_owned();
        mount.insert("source".to_owned(), kind.into());
    }
    // A relative one is meant from the bundle, as in runc.
    let source = text(mount, "source").unwrap_or_default();
    if bind && !source.starts_with('/') {
        let absolute = format!("{}/{source}", context.bundle);
        mount.insert("source".to_owned(), absolute.into());
    }
    // Some documents have all options of a tmpfs in one word, as mount(8) takes them.
    if text(mount, "type") == Some("tmpfs") && options.iter().any(|one| one.contains(',')) {
        let words = options.iter().flat_map(|one| one.split(','));
        let words: Vec<Value> = words
            .filter(|word| !word.is_empty())
            .map(Value::from)
            .collect();
        mount.insert("options".to_owned(), words.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
