//! Images that have to be fetched or made before they can be opened.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use image::{Access, Build, Cache, Image, Source};
use registry::{Credentials, Login, Patience};

use crate::caller::Caller;
use crate::clock::build_time;
use crate::flags::{Network, NetworkFlags, settings};
use crate::messages::Messages;
use crate::progress::Bars;
use crate::site::Site;

/// Where registries' own certificates are, as for podman and docker.
const CERTIFICATES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

impl Network {
    /// Reaches sources: `act` does what is to be done with them. What is fetched is kept in the cache,
    /// unless the user wants nothing kept.
    ///
    /// # Errors
    ///
    /// Fails as `act` does, and when a directory for it cannot be made.
    pub fn with_access<T>(
        &self,
        caller: &Caller,
        messages: &Messages,
        act: impl FnOnce(&Access) -> Result<T>,
    ) -> Result<T> {
        let place = self.place(caller)?;
        self.with_place(&place, caller, messages, act)
    }

    /// Where what is fetched is kept, if only for a while.
    fn place(&self, caller: &Caller) -> Result<Place> {
        if !self.without_cache {
            return Ok(Place::Lasting(caller.cache(&caller.account())));
        }
        let scratch = scratch(caller);
        let directory = tempfile::Builder::new()
            .prefix("front-")
            .tempdir_in(&scratch)
            .with_context(|| scratch.display().to_string())?;
        Ok(Place::Passing(directory))
    }

    /// How an image is made of a source, as long as no flag says more.
    ///
    /// # Errors
    ///
    /// Fails when a variable has no meaning.
    pub fn build(&self, from: (String, String), caller: &Caller) -> Result<Build> {
        Ok(Build {
            from,
            time: build_time(caller)?,
            fix_permissions: caller.variables.is_set(&settings::FIXPERMS)?,
            compression: image::Compression::default(),
            scratch: scratch(caller),
            architecture: self.platform.as_ref().map(|(named, _)| named.clone()),
        })
    }

    fn with_place<T>(
        &self,
        place: &Place,
        caller: &Caller,
        messages: &Messages,
        act: impl FnOnce(&Access) -> Result<T>,
    ) -> Result<T> {
        let scratch = scratch(caller);
        let bars = Bars::new(messages);
        let cache = Cache::new(place.path().to_owned());
        let mut chosen = image::host_platform();
        if let Some((architecture, variant)) = &self.platform {
            if *architecture != chosen.architecture {
                chosen.variants.clear();
            }
            chosen.architecture.clone_from(architecture);
            if let Some(variant) = variant {
                chosen.variants = vec![variant.clone()];
            }
        }
        act(&Access {
            platform: chosen,
            scratch,
            cache: &cache,
            network: registry::Options {
                insecure: self.insecure,
                credentials: Credentials {
                    given: self
                        .login
                        .clone()
                        .map(|(user, password)| Login { user, password }),
                    files: self.credentials.clone(),
                },
                ..registries(&self.site, caller, messages)
            },
            library: self.library.clone(),
            daemon: self.daemon.clone(),
            progress: &bars,
        })
    }
}

/// Where what is fetched is kept.
enum Place {
    Lasting(PathBuf),
    /// Gone when this is dropped.
    Passing(tempfile::TempDir),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Lasting(path) => path,
            Self::Passing(directory) => directory.path(),
        }
    }
}

/// How registries are reached, for somebody who is nobody yet.
pub fn registries(site: &Site, caller: &Caller, messages: &Messages) -> registry::Options {
    let messages = *messages;
    registry::Options {
        insecure: false,
        credentials: Credentials::default(),
        mirrors: site.mirrors(),
        insecure_hosts: site.insecure_hosts(),
        authorities: caller.variables.get("SSL_CERT_FILE").map(PathBuf::from),
        certificates: CERTIFICATES.map(PathBuf::from).to_vec(),
        patience: Patience::telling(move |text| messages.info(text)),
    }
}

/// Opens the image that a path leads to; one that nothing can mount is converted first.
///
/// # Errors
///
/// Fails when it cannot be opened or converted.
pub fn open(path: &Path, caller: &Caller, messages: &Messages) -> Result<Image> {
    match Image::open(path) {
        Err(image::Error::Legacy { path, offset }) => {
            let network = NetworkFlags::default().resolve(caller)?;
            let from = ("localimage".to_owned(), path.display().to_string());
            let build = network.build(from, caller)?;
            let place = network.place(caller)?;
            let made = elsewhere(|| {
                network.with_place(&place, caller, messages, |access| {
                    Ok(access.sif_of_ext(&path, offset, &build)?)
                })
            })?;
            Ok(Image::open(&made)?)
        }
        opened => Ok(opened?),
    }
}

/// Opens an image of what a source has. It is in the cache, or nowhere but open.
///
/// # Errors
///
/// Fails when the source cannot be reached or read, or the image not be made or opened.
pub fn obtain(
    source: &Source,
    network: &Network,
    caller: &Caller,
    messages: &Messages,
) -> Result<Image> {
    let build = network.build(source.bootstrap(), caller)?;
    let place = network.place(caller)?;
    let path = elsewhere(|| {
        network.with_place(&place, caller, messages, |access| {
            let path = access.sif(source, &build)?;
            keep_small(network, access.cache, &path, messages);
            Ok(path)
        })
    })?;
    Ok(Image::open(&path)?)
}

/// Has another process find a path: it takes threads and memory, and this process shall become the
/// payload.
fn elsewhere(find: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    let (mut reader, mut writer) = std::io::pipe().context("make a pipe")?;
    match sys::fork().context("start a process that fetches the image")? {
        sys::Fork::Child => {
            drop(reader);
            let signal = Some(rustix::process::Signal::TERM);
            let _ = rustix::process::set_parent_process_death_signal(signal);
            let (first, rest) = match find() {
                Ok(path) => (b'+', path.into_os_string().into_vec()),
                Err(error) => (b'-', sys::one_line(error.as_ref()).into_bytes()),
            };
            let told = [&[first], rest.as_slice()].concat();
            let code = writer.write_all(&told).is_err();
            sys::exit_at_once(i32::from(code))
        }
        sys::Fork::Parent(child) => {
            drop(writer);
            let mut told = Vec::new();
            reader.read_to_end(&mut told).context("read the pipe")?;
            let ended = nix::sys::wait::waitpid(child, None);
            match told.split_first() {
                Some((b'+', path)) => Ok(PathBuf::from(OsString::from_vec(path.to_vec()))),
                Some((_, words)) => bail!("{}", String::from_utf8_lossy(words)),
                None => bail!("the process that fetches the image ended too early: {ended:?}"),
            }
        }
    }
}

/// Keeps the cache as small as the site or the user wants it.
pub fn keep_small(network: &Network, cache: &Cache, keep: &Path, messages: &Messages) {
    if let Some(limit) = network.site.cache_limit
        && let Err(error) = cache.shrink(limit, keep)
    {
        messages.warning(format_args!(
            "make room in the cache: {}",
            sys::words(&error)
        ));
    }
}

/// Where there is room for what is needed only for a while.
fn scratch(caller: &Caller) -> PathBuf {
    let variables = &caller.variables;
    let chosen = variables
        .value(&settings::TMPDIR)
        .map(|(_, directory)| directory);
    chosen
        .or_else(|| variables.get("TMPDIR"))
        .map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

/// Where `front registry login` writes: Apptainer's own file, so that both know it.
pub fn login_file(caller: &Caller) -> PathBuf {
    let directory = caller.configuration(&caller.account());
    directory.join("docker-config.json")
}
