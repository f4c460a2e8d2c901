//! Becoming the payload: what is left to do once inside.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use bundle::Process;
use image::RootFs;
use session::Payload;
use tree::{Entry, Files};

use super::{preload, runscript};
use crate::environment::{self, Ingredients, Set};
use crate::hints;
use crate::messages::Messages;
use crate::request::Action;
use crate::scripts::{Outcome, Scripts};

/// Where an image has its programs.
const RUNSCRIPT: &str = "/.singularity.d/runscript";
const STARTSCRIPT: &str = "/.singularity.d/startscript";

/// The payload, as far as it can be worked out outside.
#[derive(Debug, Clone)]
pub struct Start {
    ingredients: Ingredients,
    scripts: Scripts,
    base: Set,
    /// What scripts and overrides come to, where that takes no shell.
    plain: Option<(Set, Set)>,
    args: Vec<OsString>,
    cwd: PathBuf,
}

impl Start {
    /// Works out what can be from the image's files and the caller's working directory.
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
                "{} is not overridden: the container decides it",
                name.display()
            ));
        }
        let scripts = Scripts::find(root)?;
        let base = environment::base(&ingredients);
        let plain = scripts.evaluate_plainly(&base, environment::overrides(request));
        let args = arguments(&request.action, root, messages)?;
        // Where the user says, else where the caller is, else at home.
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

    /// Whether the environment is known before anything runs.
    pub fn is_plain(&self) -> bool {
        self.plain.is_some()
    }

    /// Whether the image has what is to be started. One without a startscript starts nothing.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read.
    pub fn has_program(&self, root: &RootFs) -> io::Result<bool> {
        let Action::Start(_) = self.ingredients.request.action else {
            return Ok(true);
        };
        let entry = root.entry(Path::new(STARTSCRIPT))?;
        Ok(matches!(entry, Some(Entry::File { executable: true })))
    }

    /// Returns the process as `config.json` tells it, before any script has run.
    pub fn process(&self, privileged: bool) -> Process {
        let plain = self.plain.clone();
        let (image, overrides) = plain.unwrap_or_else(|| (self.base.clone(), Set::new()));
        let env = environment::finish(&self.ingredients, image, overrides);
        Process {
            args: self.args.clone(),
            env: env.into_iter().collect(),
            cwd: self.cwd.clone(),
            privileged,
        }
    }

    /// Becomes the payload. The calling process must be inside. Returns only when nothing was
    /// started, or with the exit code by which one of the image's scripts ended the run.
    ///
    /// # Errors
    ///
    /// Tells why nothing was started.
    pub fn become_payload(&self, messages: &Messages) -> Result<u8> {
        let request = &self.ingredients.request;
        if request.is_contained() {
            // All that is known of the image is known: no link in it is to lead to where it lies. A payload that is not
            // contained sees that anyway, and its launcher may have left hundreds of descriptors to look at.
            sys::let_go_of_own_files().context("let go of the image's files")?;
        }
        let cwd = self.settle(messages)?;
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
                            "{}: the image's shell cannot run it; what it sets is lost",
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
                Err(anyhow!("{}{hint}", sys::one_line(&error)))
            }
            Ok(never) => match never {},
        }
    }

    /// Leaves out of the caller's `LD_PRELOAD` what is not in the container. A value of the user's for the container, or
    /// of the image's, stays as it is.
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
                "LD_PRELOAD: {} is not in the container, and is left out; -B brings it",
                lost.join(", ")
            ));
        }
    }

    /// Goes to the working directory. Only one that the user named must exist.
    fn settle(&self, messages: &Messages) -> Result<PathBuf> {
        let named = &self.ingredients.request.environment.cwd;
        let entered = session::enter_directory(&self.cwd);
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
        messages.warning(format_args!("{error}; using {} instead", place.display()));
        session::enter_directory(&place)?;
        Ok(place)
    }

    fn by_shell(&self, messages: &Messages) -> Result<Outcome> {
        let overrides = || environment::overrides(&self.ingredients.request);
        let contained = self.ingredients.request.is_contained();
        let evaluated = self
            .scripts
            .evaluate_by_shell(&self.base, overrides(), contained);
        match evaluated {
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

/// Returns the command line that an action stands for. A shell is chosen later, inside.
fn arguments(action: &Action, root: &RootFs, messages: &Messages) -> io::Result<Vec<OsString>> {
    let followed = |program: OsString, words: &[OsString]| {
        [program].into_iter().chain(words.iter().cloned()).collect()
    };
    Ok(match action {
        Action::Exec(words) => words.clone(),
        Action::Shell(wanted) => vec![wanted.clone().unwrap_or_else(|| "/bin/sh".into()).into()],
        Action::Run(words) => {
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
            followed(program.into(), words)
        }
        Action::Start(words) => followed(STARTSCRIPT.into(), words),
    })
}

/// How much of a runscript is read, in bytes.
const LONGEST: usize = 1 << 20;

/// Returns what the runscript of an image starts that has no shell to run it.
fn without_shell(root: &RootFs, args: &[OsString]) -> io::Result<Option<Vec<OsString>>> {
    if root.entry(Path::new("/bin/sh"))?.is_some() {
        return Ok(None);
    }
    let script = root
        .read(Path::new(RUNSCRIPT), LONGEST)?
        .unwrap_or_default();
    Ok(runscript::words(&String::from_utf8_lossy(&script), args))
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
