//! Images that have to be fetched or made before they can be opened.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cache::Cache;
use image::Image;
use nix::sys::wait::{WaitStatus, waitpid};
use pack::Build;
use pull::{Access, Source};
use registry::{Credentials, Login, Patience};

use crate::caller::Caller;
use crate::clock::{build_time, chosen_time};
use crate::flags::{RegistryFlags, RegistryOptions};
use crate::messages::Messages;
use crate::progress::Bars;
use crate::site::Site;

/// Directories of registries' certificates, as for podman and docker.
const CERTIFICATES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

impl RegistryOptions {
    /// Calls `act` with access to sources. Fetched data is kept in the cache, unless the user
    /// disabled it.
    ///
    /// # Errors
    ///
    /// Fails as `act` does, and when its directory cannot be made.
    pub fn with_access<T>(
        &self,
        caller: &Caller,
        messages: &Messages,
        act: impl FnOnce(&Access) -> Result<T>,
    ) -> Result<T> {
        let directory = self.directory(caller)?;
        self.with_directory(&directory, messages, act)
    }

    /// Returns the directory for fetched data, which may be temporary.
    fn directory(&self, caller: &Caller) -> Result<Directory> {
        if !self.without_cache {
            return Ok(Directory::Lasting(caller.cache(&caller.account())));
        }
        let scratch = &self.scratch;
        let directory = tempfile::Builder::new()
            .prefix("front-")
            .tempdir_in(scratch)
            .with_context(|| scratch.display().to_string())?;
        Ok(Directory::Passing(directory))
    }

    /// Returns the settings for making an image from a source, if no flag sets others.
    ///
    /// # Errors
    ///
    /// Fails on a variable with an invalid value.
    pub fn build(&self, from: (String, String), caller: &Caller) -> Result<Build> {
        Ok(Build {
            from,
            time: build_time(caller)?,
            is_repeatable: chosen_time(caller)?.is_some(),
            keeps_owners: session::has_other_users(),
            mksquashfs_arguments: Vec::new(),
            fix_permissions: self.fix_permissions,
            compression: pack::Compression::default(),
            scratch: self.scratch.clone(),
            architecture: self.platform.as_ref().map(|(named, _)| named.clone()),
        })
    }

    fn with_directory<T>(
        &self,
        directory: &Directory,
        messages: &Messages,
        act: impl FnOnce(&Access) -> Result<T>,
    ) -> Result<T> {
        let bars = Bars::new(messages);
        let cache = Cache::new(directory.path().to_owned());
        let mut chosen = pull::host_platform();
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
            scratch: self.scratch.clone(),
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
                ..registries(&self.site, self.authorities.clone(), messages)
            },
            library: self.library.clone(),
            daemon: self.daemon.clone(),
            progress: &bars,
        })
    }
}

/// The directory for fetched data.
enum Directory {
    Lasting(PathBuf),
    /// Removed when this value is dropped.
    Passing(tempfile::TempDir),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Lasting(path) => path,
            Self::Passing(directory) => directory.path(),
        }
    }
}

/// Returns the access to registries, without credentials.
pub fn registries(
    site: &Site,
    authorities: Option<PathBuf>,
    messages: &Messages,
) -> registry::Options {
    let messages = *messages;
    registry::Options {
        insecure: false,
        credentials: Credentials::default(),
        mirrors: site.mirrors(),
        insecure_hosts: site.insecure_hosts(),
        authorities,
        certificates: CERTIFICATES.map(PathBuf::from).to_vec(),
        patience: Patience::telling(move |text| messages.info(text)),
    }
}

/// Opens the image at a path. Converts an image that cannot be mounted.
///
/// # Errors
///
/// Fails when the image cannot be opened or converted.
pub fn open(path: &Path, caller: &Caller, messages: &Messages) -> Result<Image> {
    match Image::open(path) {
        Err(image::Error::Legacy { path, offset }) => {
            let options = RegistryFlags::default().resolve(caller)?;
            let from = ("localimage".to_owned(), path.display().to_string());
            let build = options.build(from, caller)?;
            let directory = options.directory(caller)?;
            let made = elsewhere(|| {
                options.with_directory(&directory, messages, |access| {
                    Ok(access.sif_of_ext(&path, offset, &build)?)
                })
            })?;
            Ok(Image::open(&made)?)
        }
        opened => Ok(opened?),
    }
}

/// Opens an image from a source. Its file is in the cache; without a cache, the image exists only
/// while it is open.
///
/// # Errors
///
/// Fails when the source cannot be reached or read, or the image cannot be made or opened.
pub fn obtain(
    source: &Source,
    options: &RegistryOptions,
    caller: &Caller,
    messages: &Messages,
) -> Result<Image> {
    let build = options.build(source.bootstrap(), caller)?;
    let directory = options.directory(caller)?;
    let path = elsewhere(|| {
        options.with_directory(&directory, messages, |access| {
            let path = access.sif(source, &build)?;
            keep_small(options, access.cache, &path, messages);
            Ok(path)
        })
    })?;
    Ok(Image::open(&path)?)
}

/// Runs `find` in another process: it needs threads and memory, and this process is to become the
/// payload.
fn elsewhere(find: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    let (mut reader, mut writer) = std::io::pipe().context("create a pipe")?;
    match sys::fork().context("start a process that fetches the image")? {
        sys::Fork::Child => {
            drop(reader);
            let signal = Some(rustix::process::Signal::TERM);
            let _ = rustix::process::set_parent_process_death_signal(signal);
            let (first, rest) = match find() {
                Ok(path) => (b'+', path.into_os_string().into_vec()),
                Err(error) => (b'-', text::one_line(error.as_ref()).into_bytes()),
            };
            let told = [&[first], rest.as_slice()].concat();
            let code = writer.write_all(&told).is_err();
            sys::exit_at_once(i32::from(code))
        }
        sys::Fork::Parent(child) => {
            drop(writer);
            let mut told = Vec::new();
            reader
                .read_to_end(&mut told)
                .context("read from the pipe")?;
            let ended = waitpid(child, None);
            match told.split_first() {
                Some((b'+', path)) => Ok(PathBuf::from(OsString::from_vec(path.to_vec()))),
                Some((_, words)) => bail!("{}", String::from_utf8_lossy(words)),
                None => bail!(
                    "the process that fetches the image ended unexpectedly{}",
                    how_ended(ended.ok())
                ),
            }
        }
    }
}

/// Describes the end of a process, after "it ended".
fn how_ended(status: Option<WaitStatus>) -> String {
    match status {
        Some(WaitStatus::Exited(_, code)) => format!(" with status {code}"),
        Some(WaitStatus::Signaled(_, signal, _)) => format!(" by {signal}"),
        _ => String::new(),
    }
}

/// Shrinks the cache to the size that the site or the user has set.
pub fn keep_small(options: &RegistryOptions, cache: &Cache, keep: &Path, messages: &Messages) {
    if let Some(limit) = options.site.cache_limit
        && let Err(error) = cache.shrink(limit, keep)
    {
        messages.warning(format_args!(
            "free space in the cache: {}",
            text::message(&error)
        ));
    }
}
