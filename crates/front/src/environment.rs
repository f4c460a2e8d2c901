//! The variables that a rank needs in any container: those by which a launcher and its ranks communicate.
//! both.
//!
//! The rules were observed in Apptainer. `docs/reference/environment.md` has them in full.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rootfs::DEFAULT_PATH;

use crate::called::Called;
use crate::request::Request;
use crate::variables::{Set, Variables};

/// Directories that follow the caller's own `PATH` in `USER_PATH`.
const USER_PATH_TAIL: &str = ":/bin:/usr/bin:/sbin:/usr/sbin:/usr/local/bin:/usr/local/sbin";

/// Directory of injected libraries. The loader searches it last.
pub const LIBRARIES: &str = "/.singularity.d/libs";

const ENVIRONMENT_FILE: &str = "/.singularity.d/env/91-environment.sh";

/// Variables that `--cleanenv` keeps.
const CLEAN: [&str; 11] = [
    "TERM",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "ftp_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "FTP_PROXY",
];

/// Variables that the user may not override, because the runtime sets them.
const FIXED: [&str; 5] = [
    "HOME",
    "APPTAINER_SHELL",
    "SINGULARITY_SHELL",
    "APPTAINER_APPNAME",
    "SINGULARITY_APPNAME",
];

/// Variables of the user that extend others.
const SPECIAL: [&str; 4] = [
    "PREPEND_PATH",
    "APPEND_PATH",
    "PREPEND_LD_LIBRARY_PATH",
    "APPEND_LD_LIBRARY_PATH",
];

/// The data from which the environment is made.
#[derive(Debug, Clone)]
pub struct Ingredients {
    /// The name by which the caller called this program.
    pub called: Called,
    /// The caller's environment.
    pub caller: Variables,
    /// The user's request.
    pub request: Request,
    /// The device and inode of the caller's working directory.
    pub here: Option<(u64, u64)>,
    /// The user's home inside.
    pub home: PathBuf,
    /// The image's path and its last component.
    pub image: (PathBuf, String),
    /// The instance's name, if it is one.
    pub instance: Option<String>,
    /// Whether libraries are to be found in [`LIBRARIES`].
    pub libraries: bool,
}

/// Returns the overrides that have an effect.
pub fn overrides(request: &Request) -> impl Iterator<Item = &(OsString, OsString)> {
    request
        .environment
        .overrides
        .iter()
        .filter(|(name, _)| !FIXED.iter().any(|fixed| name == fixed))
}

/// Returns the names of overrides that have no effect.
pub fn refused(request: &Request) -> impl Iterator<Item = &OsStr> {
    let names = request
        .environment
        .overrides
        .iter()
        .map(|(name, _)| name.as_os_str());
    names.filter(|name| FIXED.iter().any(|fixed| name == fixed))
}

/// Returns the environment that the image's scripts start from.
pub fn base(ingredients: &Ingredients) -> Set {
    let (path, name) = &ingredients.image;
    let mut set = Set::new();
    for family in ["APPTAINER", "SINGULARITY"] {
        set.insert(format!("{family}_CONTAINER").into(), path.into());
        set.insert(format!("{family}_NAME").into(), name.into());
    }
    if let Some(name) = &ingredients.request.application {
        for family in ["APPTAINER", "SINGULARITY"] {
            set.insert(format!("{family}_APPNAME").into(), name.into());
        }
    }
    set.insert("HOME".into(), ingredients.home.clone().into());
    set.insert("PATH".into(), DEFAULT_PATH.into());
    set
}

/// Returns the payload's environment. `image` has the variables that the image's scripts exported.
/// `overrides` has the user's variables with their final values. `PWD` is set later.
pub fn finish(ingredients: &Ingredients, image: Set, overrides: Set) -> Set {
    let mut set = image;
    let path = path(set.get(OsStr::new("PATH")), &overrides);
    let special = |name: &OsStr| SPECIAL.iter().any(|special| name == *special);
    let caller = from_caller(ingredients);
    let of_caller = caller.iter().map(|(name, value)| (name, value));
    let given = overrides.iter().chain(of_caller);
    let given = given.filter(|(_, value)| value.is_empty());
    let given_empty: BTreeSet<OsString> = given.map(|(name, _)| name.clone()).collect();
    let (ends, others): (Set, Set) = overrides.into_iter().partition(|(name, _)| special(name));
    set.extend(others);
    extend_library_path(&mut set, &ends);
    library_path(&mut set, ingredients.libraries);
    for (name, value) in caller {
        set.entry(name).or_insert(value);
    }
    // A variable that a script emptied counts as unset. A variable that the user gives as empty
    // stays: `CUDA_VISIBLE_DEVICES=` means no GPU; without the variable, a program sees all GPUs.
    set.retain(|name, value| !value.is_empty() || given_empty.contains(name));
    set.insert("PATH".into(), path);
    set.insert("HOME".into(), ingredients.home.clone().into());
    set.extend(about(ingredients));
    set
}

fn path(image: Option<&OsString>, overrides: &Set) -> OsString {
    let get = |name: &str| {
        overrides
            .get(OsStr::new(name))
            .filter(|value| !value.is_empty())
    };
    if let Some(path) = get("PATH") {
        return path.clone();
    }
    let mut path = image.cloned().unwrap_or_else(|| DEFAULT_PATH.into());
    if let Some(front) = get("PREPEND_PATH") {
        path = join(front, &path);
    }
    if let Some(back) = get("APPEND_PATH") {
        path = join(&path, back);
    }
    path
}

fn join(front: &OsStr, back: &OsStr) -> OsString {
    let mut joined = front.to_owned();
    joined.push(":");
    joined.push(back);
    joined
}

/// Extends `LD_LIBRARY_PATH` at both ends, as `PATH`. The image may ask for that, too.
fn extend_library_path(set: &mut Set, given: &Set) {
    let name = OsStr::new("LD_LIBRARY_PATH");
    for (extension, is_front) in [
        ("PREPEND_LD_LIBRARY_PATH", true),
        ("APPEND_LD_LIBRARY_PATH", false),
    ] {
        let extension = OsStr::new(extension);
        let of_image = set.remove(extension);
        let Some(path) = given.get(extension).cloned().or(of_image) else {
            continue;
        };
        let joined = match set.get(name).filter(|own| !own.is_empty()) {
            Some(own) if is_front => join(&path, own),
            Some(own) => join(own, &path),
            None => path,
        };
        set.insert(name.to_owned(), joined);
    }
}

fn library_path(set: &mut Set, libraries: bool) {
    let name = OsStr::new("LD_LIBRARY_PATH");
    match set.get(name).filter(|value| !value.is_empty()) {
        Some(own) => {
            let joined = join(own, OsStr::new(LIBRARIES));
            set.insert(name.to_owned(), joined);
        }
        None if libraries => {
            set.insert(name.to_owned(), LIBRARIES.into());
        }
        None => {}
    }
}

/// Returns the variables that the caller's own environment contributes.
fn from_caller(ingredients: &Ingredients) -> Vec<(OsString, OsString)> {
    let variables = &ingredients.caller;
    if ingredients.request.environment.is_clean {
        let kept = CLEAN.iter().filter_map(|name| {
            variables
                .get(name)
                .map(|value| (OsString::from(*name), value.to_owned()))
        });
        let kept = kept.chain([("LANG".into(), "C".into())]);
        // A rank finds the others by these variables, so even a clean environment has them.
        let of_the_job = variables.0.iter().filter(|(name, _)| {
            let is_rank = ingredients.request.job.is_some();
            is_rank && name.to_str().is_some_and(launcher::is_passed)
        });
        return kept.chain(of_the_job.cloned()).collect();
    }
    let replaced = ["PATH", "HOME", "LD_LIBRARY_PATH", "PWD", "PROMPT_COMMAND"];
    let mut kept: Vec<(OsString, OsString)> = variables
        .0
        .iter()
        .filter(|(name, _)| {
            !Variables::is_ours(name)
                && !replaced.iter().any(|other| name == other)
                && !ingredients.request.environment.omitted.contains(name)
        })
        .cloned()
        .collect();
    if let Some(path) = variables.get("PATH") {
        let mut user_path = path.to_owned();
        user_path.push(USER_PATH_TAIL);
        kept.push(("USER_PATH".into(), user_path));
    }
    kept
}

/// Returns the variables that describe the container, under both families' names.
fn about(ingredients: &Ingredients) -> Set {
    let request = &ingredients.request;
    let (path, name) = &ingredients.image;
    let destinations: Vec<&[u8]> = request
        .container
        .mounts
        .binds
        .iter()
        .map(|bind| {
            bind.destination
                .as_ref()
                .unwrap_or(&bind.source)
                .as_os_str()
                .as_bytes()
        })
        .collect();
    let binds = OsStr::from_bytes(&destinations.join(&b',')).to_owned();
    let mut set = Set::new();
    for family in ["APPTAINER", "SINGULARITY"] {
        let mut tell =
            |name: &str, value: OsString| set.insert(format!("{family}_{name}").into(), value);
        tell("CONTAINER", path.into());
        tell("NAME", name.into());
        tell("BIND", binds.clone());
        tell("ENVIRONMENT", ENVIRONMENT_FILE.into());
    }
    set.insert("APPTAINER_COMMAND".into(), request.action.name().into());
    let application = request.application.clone().unwrap_or_default();
    set.insert("APPTAINER_APPNAME".into(), application.clone().into());
    if !application.is_empty() {
        set.insert("SINGULARITY_APPNAME".into(), application.into());
    }
    if request.environment.is_literal {
        for family in ["APPTAINER", "SINGULARITY"] {
            set.insert(format!("{family}_NO_EVAL").into(), "1".into());
        }
    }
    if let Some(instance) = &ingredients.instance {
        set.insert("APPTAINER_INSTANCE".into(), instance.into());
        set.insert("SINGULARITY_INSTANCE".into(), instance.into());
    }
    prompt(ingredients, &mut set);
    set
}

/// Sets a prompt that shows the user that this is a container, in any shell. A shell that reads
/// start-up files gets the prompt through `PROMPT_COMMAND`.
fn prompt(ingredients: &Ingredients, set: &mut Set) {
    let own = |name: &str| {
        let kept = !ingredients.request.environment.is_clean;
        ingredients
            .caller
            .get(name)
            .filter(|value| kept && !value.is_empty())
    };
    let prompt = own("PS1").map_or_else(|| ingredients.called.prompt().into(), OsStr::to_owned);
    let mut command = OsString::new();
    let restore = match own("PROMPT_COMMAND") {
        Some(theirs) => {
            command.push(theirs);
            command.push("; ");
            let mut restore = OsString::from("PROMPT_COMMAND=\"");
            restore.push(theirs);
            restore.push("\"");
            restore
        }
        None => "unset PROMPT_COMMAND".into(),
    };
    command.push("PS1=\"");
    command.push(&prompt);
    command.push("\"; ");
    command.push(restore);
    set.insert("PS1".into(), prompt);
    set.insert("PROMPT_COMMAND".into(), command);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Caller;

    fn request(clean: bool) -> Request {
        let flags = if clean { "--cleanenv" } else { "" };
        let caller = Caller::new(Variables::default(), Some("/".into()));
        Request::typed(&format!("--bind /tmp:/a,/tmp:/c {flags}"), &caller)
    }

    fn set(pairs: &[(&str, &str)]) -> Set {
        pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn finished(
        clean: bool,
        caller: &[(&str, &str)],
        image: &[(&str, &str)],
        overrides: &[(&str, &str)],
    ) -> Set {
        let ingredients = Ingredients {
            here: None,
            called: Called::Front,
            caller: Variables(set(caller).into_iter().collect()),
            request: request(clean),
            home: "/home/ada".into(),
            image: ("/img.sif".into(), "img.sif".into()),
            instance: None,
            libraries: true,
        };
        finish(&ingredients, set(image), set(overrides))
    }

    fn get<'a>(set: &'a Set, name: &str) -> Option<&'a str> {
        set.get(OsStr::new(name))
            .map(|value| value.to_str().unwrap())
    }

    #[test]
    fn the_image_beats_the_caller_and_overrides_beat_both() {
        let caller = [
            ("A", "caller"),
            ("B", "caller"),
            ("C", "caller"),
            ("D", "caller"),
            ("HOME", "/wrong"),
        ];
        let image = [("B", "image"), ("C", "image"), ("D", "")];
        let result = finished(false, &caller, &image, &[("C", "override")]);
        assert_eq!(get(&result, "A"), Some("caller"));
        assert_eq!(get(&result, "B"), Some("image"));
        assert_eq!(get(&result, "C"), Some("override"));
        assert_eq!(get(&result, "D"), None);
        assert_eq!(get(&result, "HOME"), Some("/home/ada"));
        assert_eq!(get(&result, "APPTAINER_BIND"), Some("/a,/c"));
    }

    #[test]
    fn a_clean_environment_is_clean() {
        let caller = [
            ("TERM", "xterm"),
            ("LANG", "de"),
            ("USER", "ada"),
            ("https_proxy", "p"),
            ("PATH", "/x"),
        ];
        let result = finished(true, &caller, &[], &[]);
        assert_eq!(get(&result, "TERM"), Some("xterm"));
        assert_eq!(get(&result, "LANG"), Some("C"));
        assert_eq!(get(&result, "https_proxy"), Some("p"));
        assert_eq!(
            (get(&result, "USER"), get(&result, "USER_PATH")),
            (None, None)
        );
    }

    #[test]
    fn paths_are_put_together() {
        let caller = [
            ("PATH", "/mine"),
            ("LD_LIBRARY_PATH", "/host"),
            ("APPTAINER_NV", "1"),
        ];
        let result = finished(
            false,
            &caller,
            &[("PATH", "/img"), ("LD_LIBRARY_PATH", "/lib")],
            &[("PREPEND_PATH", "/front"), ("APPEND_PATH", "/back")],
        );
        assert_eq!(get(&result, "PATH"), Some("/front:/img:/back"));
        assert_eq!(
            get(&result, "LD_LIBRARY_PATH"),
            Some("/lib:/.singularity.d/libs")
        );
        assert!(
            get(&result, "USER_PATH")
                .unwrap()
                .starts_with("/mine:/bin:")
        );
        assert_eq!(
            (get(&result, "APPTAINER_NV"), get(&result, "PREPEND_PATH")),
            (None, None)
        );
        let result = finished(
            false,
            &[],
            &[],
            &[("PATH", "/only"), ("PREPEND_PATH", "/front")],
        );
        assert_eq!(get(&result, "PATH"), Some("/only"));
        assert_eq!(
            get(&result, "LD_LIBRARY_PATH"),
            Some("/.singularity.d/libs")
        );
    }
}
