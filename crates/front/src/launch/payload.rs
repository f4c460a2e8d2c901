//! Becomes the payload: the last steps, inside the container.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use bundle::Process;
use image::RootFs;
use rootfs::{Directory, Entry, Files};
use session::Payload;

use super::{preload, runscript};
use crate::environment::{self, Ingredients};
use crate::hints;
use crate::messages::Messages;
use crate::request::Action;
use crate::scripts::{Outcome, Scripts};
use crate::variables::Set;

/// Paths of an image's scripts.
const RUNSCRIPT: &str = "/.singularity.d/runscript";
const STARTSCRIPT: &str = "/.singularity.d/startscript";
const TEST: &str = "/.singularity.d/test";

/// The payload, as far as it can be prepared outside the container.
#[derive(Debug, Clone)]
pub struct Start {
    ingredients: Ingredients,
    scripts: Scripts,
    base: Set,
    /// The variables from scripts and overrides, if no shell is needed for them.
    plain: Option<(Set, Set)>,
    args: Vec<OsString>,
    cwd: PathBuf,
}

impl Start {
    /// Prepares the payload from the image's files and the caller's working directory.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read.
    pub fn new(
        ingredients: Ingredients,
        root: &RootFs,
        cwd: Option<&Path>,
        messages: &Messages,
    ) -> io::Result<Self> {
        let request = &ingredients.request;
        for name in environment::refused(request) {
            messages.warning(format_args!(
                "{} cannot be overridden: the container sets it",
                name.display()
            ));
        }
        for name in &request.environment.shadowed {
            messages.warning(format_args!(
                "Ignored environment file variable {}: override from --env",
                name.display()
            ));
        }
        let application = request.application.as_deref();
        let scripts = Scripts::find(root, application.is_some())?;
        let base = environment::base(&ingredients);
        let literal = request.environment.is_literal;
        let plain = scripts.evaluate_plainly(&base, environment::overrides(request), literal);
        let args = arguments(&request.action, application, root, messages)?;
        // The user's choice, or else the caller's directory, or else the home.
        let cwd = request
            .environment
            .cwd
            .as_deref()
            .or(cwd)
            .unwrap_or(&ingredients.home);
        Ok(Self {
            cwd: cwd.to_owned(),
            ingredients,
            scripts,
            base,
            plain,
            args,
        })
    }

    /// Returns the same start, from the files that the container shows. The calling process must be
    /// inside.
    ///
    /// # Errors
    ///
    /// Fails when the container's root cannot be read.
    pub fn seen_inside(&self, messages: &Messages) -> Result<Self> {
        let root = Directory::open_root(Path::new("/")).context("open the container's root")?;
        let root = RootFs::Directory(root);
        let ingredients = self.ingredients.clone();
        // All warnings have been printed.
        Self::new(ingredients, &root, Some(&self.cwd), &messages.of_failures())
            .context("read the container's files")
    }

    /// Whether the environment is known before any program runs.
    pub fn is_plain(&self) -> bool {
        self.plain.is_some()
    }

    /// Whether the image has the program to start. An image without a startscript or test starts
    /// nothing.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read.
    pub fn has_program(&self, root: &RootFs) -> io::Result<bool> {
        let (Action::Start(_) | Action::Test(_)) = self.ingredients.request.action else {
            return Ok(true);
        };
        let script = self.args.first().map_or(Path::new("/"), Path::new);
        let entry = root.entry(script)?;
        Ok(matches!(entry, Some(Entry::File { executable: true })))
    }

    /// Returns the process for `config.json`, as it is before any script has run.
    /// `rights` are the names of its capabilities, and whether it may gain none.
    pub fn process(&self, rights: (BTreeSet<String>, bool)) -> Process {
        let plain = self.plain.clone();
        let (image, overrides) = plain.unwrap_or_else(|| (self.base.clone(), Set::new()));
        let env = environment::finish(&self.ingredients, image, overrides);
        Process {
            args: self.args.clone(),
            env: env.into_iter().collect(),
            cwd: self.cwd.clone(),
            capabilities: rights.0,
            no_new_privileges: rights.1,
        }
    }

    /// Becomes the payload. The calling process must be inside the container. Returns only if
    /// nothing was started, or with the exit code of an image's script that ended the run.
    ///
    /// # Errors
    ///
    /// Fails with the reason why nothing was started.
    pub fn become_payload(&self, messages: &Messages) -> Result<u8> {
        let request = &self.ingredients.request;
        if request.is_contained() {
            // The image's files are no longer needed, and no link in `/proc/self/fd` may lead a
            // contained payload to the image's location. Other payloads see that location anyway,
            // and their launchers may have left hundreds of descriptors to check.
            sys::let_go_of_own_files().context("let go of the image's files")?;
        }
        if request.environment.has_usual_umask {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        }
        let cwd = self.enter_cwd(messages)?;
        let (image, overrides) = match &self.plain {
            Some(plain) => plain.clone(),
            None => match self.by_shell(messages)? {
                Outcome::Variables {
                    image,
                    overrides,
                    lost,
                } => {
                    for script in lost {
                        messages.warning(format_args!(
                            "{}: the image's shell cannot run it; its variables are not set",
                            script.display()
                        ));
                    }
                    (image, overrides)
                }
                Outcome::Exit(code) => return Ok(code),
            },
        };
        let mut env = environment::finish(&self.ingredients, image, overrides);
        env.insert("PWD".into(), cwd.into());
        self.leave_out_preloads(&mut env, messages);
        let args = match &request.action {
            Action::Shell(wanted) => shell(wanted.as_deref()),
            _ => self.args.clone(),
        };
        let payload = Payload {
            args,
            env: env.into_iter().collect(),
            contained: request.is_contained(),
        };
        match session::exec(&payload) {
            Err(error) => {
                let program = payload.args.first().map(OsString::as_os_str);
                let hint = program.map_or("", hints::of_program);
                Err(anyhow!("{}{hint}", text::one_line(&error)))
            }
            Ok(never) => match never {},
        }
    }

    /// Removes from the caller's `LD_PRELOAD` all objects that are not in the container. A value
    /// that the user set for the container, or the image's own, stays.
    fn leave_out_preloads(&self, env: &mut Set, messages: &Messages) {
        let name = OsStr::new("LD_PRELOAD");
        let Some(value) = self.ingredients.caller.get("LD_PRELOAD") else {
            return;
        };
        if env.get(name).map(OsString::as_os_str) != Some(value) {
            return;
        }
        let (kept, lost) = preload::split(value, Path::exists);
        if lost.is_empty() {
            return;
        }
        match kept.is_empty() {
            true => env.remove(name),
            false => env.insert(name.to_owned(), kept),
        };
        let job = self.ingredients.request.job.as_ref();
        if job.and_then(|job| job.rank).is_none_or(|rank| rank == 0) {
            let lost: Vec<String> = lost.iter().map(|one| one.display().to_string()).collect();
            messages.warning(format_args!(
                "LD_PRELOAD: ignoring files that are not in the container: {}; bind them with -B",
                lost.join(", ")
            ));
        }
    }

    /// Enters the working directory. Only a directory that the user named must exist.
    fn enter_cwd(&self, messages: &Messages) -> Result<PathBuf> {
        let request = &self.ingredients.request;
        let named = &request.environment.cwd;
        let is_callers = named.is_none() && !request.is_contained();
        let entered = match self.ingredients.here.filter(|_| is_callers) {
            Some(here) => session::enter_same_directory(&self.cwd, here),
            None => session::enter_directory(&self.cwd),
        };
        if named.is_some() {
            entered.context("failed to set working directory")?;
            return Ok(self.cwd.clone());
        }
        let Err(error) = entered else {
            return Ok(self.cwd.clone());
        };
        let home = &self.ingredients.home;
        let place = if session::enter_directory(home).is_ok() {
            home.clone()
        } else {
            PathBuf::from("/")
        };
        let reason = text::one_line(&error);
        messages.warning(format_args!("{reason}; using {} instead", place.display()));
        session::enter_directory(&place)?;
        Ok(place)
    }

    fn by_shell(&self, messages: &Messages) -> Result<Outcome> {
        let request = &self.ingredients.request;
        let overrides = || environment::overrides(request);
        // Literal values have no need of a shell, and take no harm from one.
        let (literal, evaluated) =
            overrides().partition::<Vec<_>, _>(|_| request.environment.is_literal);
        let contained = self.ingredients.request.is_contained();
        let evaluated =
            self.scripts
                .evaluate_by_shell(&self.base, evaluated.into_iter(), contained);
        match evaluated {
            Ok(Outcome::Variables {
                image,
                overrides,
                lost,
            }) => Ok(Outcome::Variables {
                image,
                overrides: overrides
                    .into_iter()
                    .chain(literal.into_iter().cloned())
                    .collect(),
                lost,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                messages.warning("the image has no /bin/sh: its environment scripts are not run");
                Ok(Outcome::Variables {
                    image: self.base.clone(),
                    overrides: overrides().cloned().collect(),
                    lost: Vec::new(),
                })
            }
            outcome => outcome.context("run the image's environment scripts"),
        }
    }
}

/// Returns the command line of an action, in an application or in the image as a whole. A shell is
/// chosen later, inside the container.
fn arguments(
    action: &Action,
    application: Option<&str>,
    root: &RootFs,
    messages: &Messages,
) -> io::Result<Vec<OsString>> {
    let followed = |program: &str, words: &[OsString]| {
        let words = words.iter().cloned();
        [OsString::from(program)].into_iter().chain(words).collect()
    };
    let of_application =
        |name: &str| application.map(|application| format!("/scif/apps/{application}/scif/{name}"));
    Ok(match action {
        Action::Exec(words) => words.clone(),
        Action::Shell(wanted) => vec![wanted.clone().unwrap_or_else(|| "/bin/sh".into()).into()],
        Action::Run(words) => {
            if let Some(script) = of_application("runscript") {
                return Ok(followed(&script, words));
            }
            let entry = root.entry(Path::new(RUNSCRIPT))?;
            if let Some(words) = without_shell(root, words)? {
                return Ok(words);
            }
            let program = if matches!(entry, Some(Entry::File { executable: true })) {
                RUNSCRIPT
            } else {
                messages.info("No runscript found in container, executing /bin/sh");
                "/bin/sh"
            };
            followed(program, words)
        }
        Action::Start(words) => followed(STARTSCRIPT, words),
        Action::Test(words) => {
            let script = of_application("test").unwrap_or_else(|| TEST.to_owned());
            followed(&script, words)
        }
    })
}

/// Largest part of a runscript that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// Returns the command that the runscript starts, if the image has no shell to run it.
fn without_shell(root: &RootFs, args: &[OsString]) -> io::Result<Option<Vec<OsString>>> {
    if root.entry(Path::new("/bin/sh"))?.is_some() {
        return Ok(None);
    }
    let script = root
        .read(Path::new(RUNSCRIPT), LONGEST)?
        .unwrap_or_default();
    Ok(runscript::words(&String::from_utf8_lossy(&script), args))
}

/// Returns the user's shell if the image has it, or else bash without its start-up files, or else
/// sh.
fn shell(wanted: Option<&Path>) -> Vec<OsString> {
    let there = |path: &Path| session::find_program(path.as_os_str(), None).is_ok();
    match wanted {
        Some(path) if there(path) => vec![path.into()],
        _ if there(Path::new("/bin/bash")) => vec!["/bin/bash".into(), "--norc".into()],
        _ => vec!["/bin/sh".into()],
    }
}
