//! Puts a specification right that libcontainer refuses or reads wrongly.
//!
//! Pure: a JSON document in, the same or a better one out. It works on plain JSON because
//! `oci-spec` refuses a whole document for one unknown word.

use serde_json::{Map, Value, json};

/// What the result depends on beside the document.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle's absolute path.
    pub bundle: &'a str,
    /// Whether systemd manages the cgroups.
    pub systemd_cgroup: bool,
    /// The capabilities that this process could give, as `CAP_X`.
    pub available_capabilities: &'a [String],
}

/// A document that libcontainer can take.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalised {
    /// The document.
    pub document: Value,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Normalises a document.
///
/// # Errors
///
/// Tells what is asked that cannot be done.
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
        propagation(linux)?;
    }
    if let Some(mounts) = spec.get_mut("mounts").and_then(Value::as_array_mut) {
        for mount in mounts.iter_mut().filter_map(Value::as_object_mut) {
            self::mount(mount)?;
        }
    }
    Ok(Normalised {
        document: fixed,
        warnings,
    })
}

/// Normalises a process that is to be started in a container; what it leaves open is taken from
/// the container's own, as runc does. Returns what the user should know, too.
///
/// # Errors
///
/// Tells what is wrong with it.
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

/// The kernel's strings end at a NUL byte, and some are used only when nobody listens any more.
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

/// A null is what is not there, as in Go; `oci-spec` knows it in some places only.
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

/// The highest number of a user or group that runc takes. To the kernel 4294967295 means that nothing is to change, and
/// the program would keep root's (setresuid(2); the class of CVE-2024-40635).
const LAST_ID: u64 = i32::MAX as u64;

fn check_id(name: &str, id: &Value) -> Result<(), String> {
    match id.as_u64() {
        Some(0..=LAST_ID) => Ok(()),
        _ => Err(format!(
            "user: {name}: {id} is not in the range 0 to {LAST_ID}"
        )),
    }
}

/// runc fills in what `oci-spec` requires; an absent set of capabilities is an empty one.
fn complete_process(
    process: &mut Map<String, Value>,
    available_capabilities: &[String],
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    // libcontainer loads a filter after the capabilities are gone when it sees `false`.
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

/// The document may be read from another place than the bundle.
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

/// An absolute path makes libcontainer use the file system whatever else it is told; a relative one
/// would go to systemd, or fail, as soon as there is a user namespace.
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
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    if absolute.trim_matches('/').is_empty() {
        return Err("cgroupsPath is the root of the hierarchy".to_owned());
    }
    linux.insert("cgroupsPath".to_owned(), absolute.into());
    Ok(())
}

/// The specification: unknown names and those the host cannot give are warned of, not refused.
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
    if !left_out.is_empty() {
        let names = left_out.join(" ");
        warnings.push(format!(
            "ignoring unknown or unavailable capabilities: [{names}]"
        ));
    }
}

/// An empty path means a new namespace.
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

/// libcontainer knows the four words; runc and the engines above also use the recursive ones.
fn propagation(linux: &mut Map<String, Value>) -> Result<(), String> {
    let word = match text(linux, "rootfsPropagation") {
        None | Some("shared" | "slave" | "private" | "unbindable") => return Ok(()),
        Some("") => {
            linux.remove("rootfsPropagation");
            return Ok(());
        }
        Some("rshared") => "shared",
        Some("rslave") => "slave",
        Some("rprivate") => "private",
        Some(other) => return Err(format!("rootfsPropagation {other:?} is not supported")),
    };
    linux.insert("rootfsPropagation".to_owned(), word.into());
    Ok(())
}

fn mount(mount: &mut Map<String, Value>) -> Result<(), String> {
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
    Ok(())
}

#[cfg(test)]
mod tests;
