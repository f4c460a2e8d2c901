//! Examines the program that a request would start, without starting it.

use std::collections::BTreeSet;
use std::ffi::OsString;

use anyhow::{Context, Result, bail};
use image::Image;
use inject::Edits;
use sys::ExitCode;

use super::mpi::{self, Rank, Surroundings};
use super::open::open_image;
use super::payload::Start;
use super::plan::{cwd, has_libraries};
use super::program::{self, ProgramLocation, VisiblePaths};
use super::view::View;
use crate::caller::Caller;
use crate::environment::Ingredients;
use crate::messages::Messages;
use crate::request::{Action, Request};

/// An image and the program that a request would start in it.
pub struct Looked {
    /// The image.
    pub image: Image,
    /// The program's location. `None` if it is not found.
    pub location: Option<ProgramLocation>,
    /// Its environment.
    pub env: Vec<(OsString, OsString)>,
    /// The program's name. Empty if the request names none.
    pub name: String,
    /// Whether its environment is known before any program runs.
    pub is_plain: bool,
}

/// Examines the program that a request would start, and starts nothing.
///
/// # Errors
///
/// Fails when the image does not exist, and when it cannot be read.
pub fn look(request: &Request, caller: &Caller, messages: &Messages) -> Result<Looked> {
    let image = open_image(&request.source, request.registry.as_ref(), caller, messages)?;
    let (start, shown) = plan(request, &image, caller, messages)?;
    let Action::Exec(words) = &request.action else {
        bail!("only a command can be examined");
    };
    let name = words.first();
    let location = name
        .map(|name| program::find(name, &image, &start, &shown))
        .transpose()?;
    Ok(Looked {
        location: location.flatten(),
        env: start.process((BTreeSet::new(), true)).env,
        is_plain: start.is_plain(),
        name: name
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        image,
    })
}

/// Determines the program that a request would start, and the paths at which its container would
/// show the host's files.
fn plan(
    request: &Request,
    image: &Image,
    caller: &Caller,
    messages: &Messages,
) -> Result<(Start, VisiblePaths)> {
    let view = View::new(request, caller, false);
    let ingredients = Ingredients {
        here: caller.here,
        called: caller.called,
        caller: caller.variables.clone(),
        request: request.clone(),
        home: view.account.home.clone(),
        image: (image.path.clone(), image.name()),
        instance: None,
        libraries: has_libraries(image, &Edits::default()),
    };
    let start = Start::new(ingredients, &image.root, cwd(request, caller), messages)
        .context("read the image")?;
    Ok((start, view.visible_paths(request)))
}

/// Examines the program of a rank that joins a container.
pub(super) fn examine(
    request: &Request,
    image: &Image,
    caller: &Caller,
    messages: &Messages,
) -> Result<Rank> {
    let hints = request.container.mpi.hints_beside_launcher(caller);
    let (start, shown) = plan(request, image, caller, messages)?;
    let cache = caller.cache(&caller.account());
    let around = Surroundings {
        image,
        start: &start,
        shown: &shown,
        hints: &hints,
        cache: &cache,
        has_injected: false,
    };
    mpi::find_out(request, around)
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
