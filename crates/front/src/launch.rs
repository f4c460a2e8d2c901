//! The way from a request to a running payload: image, host, bundle, session, exec.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bundle::{Account, Bundle, HostFacts, Paths, Process};
use image::{Entry, Image, Medium, RootFs};
use inject::Edits;
use session::{Ground, Layout, Payload};

use crate::caller::Caller;
use crate::environment::{self, Ingredients, Set};
use crate::fetch::{self, obtain};
use crate::messages::Messages;
use crate::request::{Action, Request, Source};
use crate::scripts::{Outcome, Scripts};
use crate::{embedded, host};

/// Carries out a request. Returns only when nothing was started, or with a code of the image's
/// own; otherwise this process has become the payload.
pub fn launch(request: &Request, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let image = match (&request.source, &request.network) {
        (Source::Foreign(source), Some(network)) => obtain(source, network, caller, messages)?,
        (Source::Foreign(source), None) => bail!("{source}: there is no way to it"),
        (Source::Path(path), _) => fetch::open(path, caller, messages)?,
        (Source::Embedded, _) => embedded::image(),
    };
    tracing::debug!(image = %image.path.display(), medium = ?image.medium, "image opened");
    let account = caller.account();
    let facts = host::facts(caller, &account);
    let edits = edits(request, caller, &image);
    let named = || format!("{}: the image is damaged", image.path.display());
    let scripts = Scripts::find(&image.root).with_context(named)?;
    for name in environment::refused(request) {
        messages.warning(format_args!(
            "{} is not overridden: the container decides it",
            name.display()
        ));
    }
    let name = image.name();
    let ingredients = Ingredients {
        caller: &caller.variables,
        request,
        home: &account.home,
        image: (&image.path, &name),
        libraries: has_libraries(&image, &edits),
    };
    let base = environment::base(&ingredients);
    let plain = scripts.evaluate_plainly(&base, environment::overrides(request));
    let preview = plain.clone().unwrap_or_else(|| (base.clone(), Set::new()));
    let process = Process {
        args: arguments(&request.action, &image.root, messages).with_context(named)?,
        env: environment::finish(&ingredients, preview.0, preview.1)
            .into_iter()
            .collect(),
        cwd: directory(request, caller, &account),
        privileged: session::is_privileged(),
    };
    let layout = Layout::choose(&needed(request, &image, &account, &facts, &edits))?;
    let bundle = make_bundle(
        request,
        &image.root,
        &account,
        &process,
        &edits,
        &facts,
        &layout,
    );
    let bundle = match bundle {
        Err(error @ bundle::Error::Image { .. }) => Err(error).with_context(named)?,
        bundle => bundle?,
    };
    for warning in &bundle.warnings {
        messages.warning(warning);
    }
    if request.dry_run {
        return print(&bundle.spec);
    }
    let cache = caller.cache(&account);
    enter(&image.root, &layout, &bundle, &cache, messages)?;
    let mut payload = Payload {
        args: process.args,
        env: process.env,
    };
    let cwd = settle(request, &process.cwd, &account, messages)?;
    if !process.privileged {
        session::shed_privileges()?;
    }
    let env = match plain {
        Some((image, overrides)) => environment::finish(&ingredients, image, overrides),
        None => match by_shell(&scripts, &base, request, messages)? {
            Outcome::Variables { image, overrides } => {
                environment::finish(&ingredients, image, overrides)
            }
            Outcome::Exit(code) => return Ok(ExitCode::from(code)),
        },
    };
    payload.env = with_directory(env, cwd);
    if let Action::Shell(wanted) = &request.action {
        payload.args = shell(wanted.as_deref());
    }
    match session::exec(&payload) {
        Err(error) => Err(error.into()),
        Ok(never) => match never {},
    }
}

fn edits(request: &Request, caller: &Caller, image: &Image) -> Edits {
    let machine = if request.nv {
        host::machine(&image.root)
    } else {
        None
    };
    let Some(machine) = machine else {
        return Edits::default();
    };
    let path = caller.variables.get("PATH").unwrap_or_default();
    let edits = inject::nvidia(&inject::Host::new("/", path), machine);
    tracing::debug!(
        mounts = edits.mounts.len(),
        devices = edits.device_nodes.len(),
        "NVIDIA"
    );
    edits
}

/// A bare directory tree without Singularity's own files gets no library path of theirs, unless
/// something is put there.
fn has_libraries(image: &Image, edits: &Edits) -> bool {
    let own = || {
        image
            .root
            .entry(Path::new("/.singularity.d"))
            .is_ok_and(|entry| entry.is_some())
    };
    !edits.mounts.is_empty() || image.medium == Medium::Sif || own()
}

/// Returns the command line that an action stands for. A shell is chosen later, inside.
fn arguments(action: &Action, root: &RootFs, messages: &Messages) -> Result<Vec<OsString>> {
    Ok(match action {
        Action::Exec(words) => words.clone(),
        Action::Shell(wanted) => vec![wanted.clone().unwrap_or_else(|| "/bin/sh".into()).into()],
        Action::Run(words) => {
            let runscript = "/.singularity.d/runscript";
            let entry = root.entry(Path::new(runscript))?;
            let program = if matches!(entry, Some(Entry::File { executable: true })) {
                runscript
            } else {
                messages.info("No runscript found in container, executing /bin/sh");
                "/bin/sh"
            };
            [program.into()]
                .into_iter()
                .chain(words.iter().cloned())
                .collect()
        }
    })
}

/// Where the payload shall start: where the user says, else where the caller is, else at home.
fn directory(request: &Request, caller: &Caller, account: &Account) -> PathBuf {
    request
        .cwd
        .clone()
        .or_else(|| caller.cwd.clone())
        .unwrap_or_else(|| account.home.clone())
}

/// The paths that the session's own directory must not hide.
fn needed<'a>(
    request: &'a Request,
    image: &'a Image,
    account: &'a Account,
    facts: &'a HostFacts,
    edits: &'a Edits,
) -> Vec<&'a Path> {
    let binds = request.binds.iter().map(|bind| bind.source.as_path());
    let lent = edits.mounts.iter().map(|mount| mount.host_path.as_path());
    binds
        .chain(lent)
        .chain([image.path.as_path(), account.home.as_path()])
        .chain(facts.cwd.as_deref())
        .chain(facts.present.iter().map(PathBuf::as_path))
        .collect()
}

fn make_bundle(
    request: &Request,
    root: &RootFs,
    account: &Account,
    process: &Process,
    edits: &Edits,
    facts: &HostFacts,
    layout: &Layout,
) -> Result<Bundle, bundle::Error> {
    let paths = Paths {
        root: layout.root(),
        files: layout.files(),
        cgroup: layout.cgroup(),
    };
    bundle::build(&bundle::Request {
        root,
        account,
        process,
        binds: &request.binds,
        edits,
        host: facts,
        paths: &paths,
    })
}

fn print(spec: &impl serde::Serialize) -> Result<ExitCode> {
    use std::io::Write;
    let config = serde_json::to_vec_pretty(spec).context("write config.json")?;
    let mut out = std::io::stdout().lock();
    out.write_all(&config)
        .and_then(|()| out.write_all(b"\n"))
        .context("print config.json")?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the session and goes in.
fn enter(
    root: &RootFs,
    layout: &Layout,
    bundle: &Bundle,
    cache: &Path,
    messages: &Messages,
) -> Result<()> {
    let files: Vec<(&str, &[u8])> = bundle
        .files
        .iter()
        .map(|file| (file.name, file.content.as_slice()))
        .collect();
    let mount_points: Vec<(&Path, bool)> = bundle
        .mount_points
        .iter()
        .map(|point| (point.path.as_path(), point.directory))
        .collect();
    let ground = Ground {
        layout,
        root,
        mount_points: &mount_points,
        spec: &bundle.spec,
        files: &files,
        cache,
        verbose: messages.is_debug(),
    };
    session::open(&ground, &mut |note| messages.info(note))?.enter()?;
    Ok(())
}

/// Goes to the working directory. Only one that the user named must exist.
fn settle(
    request: &Request,
    cwd: &Path,
    account: &Account,
    messages: &Messages,
) -> Result<PathBuf> {
    let entered = session::enter_directory(cwd);
    if request.cwd.is_some() {
        entered.context("failed to set working directory")?;
        return Ok(cwd.to_owned());
    }
    let Err(error) = entered else {
        return Ok(cwd.to_owned());
    };
    let home = &account.home;
    let place = if session::enter_directory(home).is_ok() {
        home.clone()
    } else {
        PathBuf::from("/")
    };
    messages.warning(format_args!("{error}; using {} instead", place.display()));
    session::enter_directory(&place)?;
    Ok(place)
}

fn by_shell(
    scripts: &Scripts,
    base: &Set,
    request: &Request,
    messages: &Messages,
) -> Result<Outcome> {
    match scripts.evaluate_by_shell(base, environment::overrides(request)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            messages.warning("the image has no /bin/sh: its environment scripts are not run");
            Ok(Outcome::Variables {
                image: base.clone(),
                overrides: environment::overrides(request).cloned().collect(),
            })
        }
        outcome => outcome.context("run the image's environment scripts"),
    }
}

fn with_directory(mut env: Set, cwd: PathBuf) -> Vec<(OsString, OsString)> {
    env.insert("PWD".into(), cwd.into());
    env.into_iter().collect()
}

/// The user's shell if the image has it, else bash without its start-up files, else sh.
fn shell(wanted: Option<&Path>) -> Vec<OsString> {
    let there = |path: &Path| session::find_program(path.as_os_str(), None).is_ok();
    match wanted {
        Some(path) if there(path) => vec![path.into()],
        _ if there(Path::new("/bin/bash")) => vec!["/bin/bash".into(), "--norc".into()],
        _ => vec!["/bin/sh".into()],
    }
}
