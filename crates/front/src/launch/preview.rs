//! Looking at what a request would start, without starting it.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};
use image::Image;
use inject::Edits;
use sys::ExitCode;

use super::mpi::{self, Rank};
use super::open::open_image;
use super::payload::Start;
use super::plan::{has_libraries, launcher_binds};
use super::program::{self, Shown, Where};
use crate::caller::Caller;
use crate::environment::Ingredients;
use crate::host;
use crate::messages::Messages;
use crate::request::{Action, Request};

/// An image and the program that a request would start in it.
pub struct Looked {
    /// The image.
    pub image: Image,
    /// Where the program lies; `None` where it is not to be found.
    pub place: Option<Where>,
    /// Its environment.
    pub env: Vec<(OsString, OsString)>,
    /// What it is called; empty where none is asked for.
    pub name: String,
    /// Whether its environment is known before anything runs.
    pub is_plain: bool,
}

/// Looks at what a request would start, and starts nothing.
///
/// # Errors
///
/// Fails when there is no such image, and when it cannot be read.
pub fn look(request: &Request, caller: &Caller, messages: &Messages) -> Result<Looked> {
    let image = open_image(&request.source, request.network.as_ref(), caller, messages)?;
    let (start, shown) = plan(request, &image, caller, messages)?;
    let Action::Exec(words) = &request.action else {
        bail!("only a command can be looked at");
    };
    let name = words.first();
    let place = name
        .map(|name| program::find(name, &image, &start, &shown))
        .transpose()?;
    Ok(Looked {
        place: place.flatten(),
        env: start.process(false).env,
        is_plain: start.is_plain(),
        name: name
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        image,
    })
}

/// Works out what a request would start, and where its container would show the host's files.
fn plan(
    request: &Request,
    image: &Image,
    caller: &Caller,
    messages: &Messages,
) -> Result<(Start, Shown)> {
    let account = caller.account();
    let facts = host::facts_without_devices(caller, &account);
    let binds = launcher_binds(request, &account, &facts);
    let ingredients = Ingredients {
        caller: caller.variables.clone(),
        request: request.clone(),
        home: account.home.clone(),
        image: (image.path.clone(), image.name()),
        instance: None,
        libraries: has_libraries(image, &Edits::default()),
    };
    let cwd = caller.cwd.as_deref().filter(|_| !request.is_contained());
    let start = Start::new(ingredients, &image.root, cwd, messages).context("read the image")?;
    let shown = Shown::new(request, &binds, &account, &facts);
    Ok((start, shown))
}

/// Looks at the program of a rank that joins a container.
pub(super) fn examine(
    request: &Request,
    image: &Image,
    caller: &Caller,
    messages: &Messages,
) -> Result<Rank> {
    let hints = request.container.mpi.hints_beside_launcher(caller);
    let (start, shown) = plan(request, image, caller, messages)?;
    let cache = caller.cache(&caller.account());
    // What its container has is decided already.
    let mut edits = Edits::default();
    mpi::prepare(request, image, &start, &shown, &hints, &cache, &mut edits)
}

pub(super) fn print(spec: &impl serde::Serialize) -> Result<ExitCode> {
    use std::io::Write;
    let config = serde_json::to_vec_pretty(spec).context("write config.json")?;
    let mut out = std::io::stdout().lock();
    out.write_all(&config)
        .and_then(|()| out.write_all(b"\n"))
        .context("print config.json")?;
    Ok(ExitCode::SUCCESS)
}
