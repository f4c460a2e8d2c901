//! Access to images that are not files.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::{Group, Variable, settings};
use crate::caller::Caller;
use crate::site::Site;
use crate::variables::Variables;

/// The flags for registries, libraries and daemons.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Images from registries and daemons")]
pub struct RegistryFlags {
    /// Accept a registry without TLS, or with an untrusted certificate
    #[arg(long, alias = "nohttps")]
    pub no_https: bool,
    /// Ask for a user and a password for the registry
    #[arg(long)]
    pub docker_login: bool,
    /// Use this file of credentials
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Use the docker daemon at this address: unix://SOCKET
    #[arg(long, value_name = "ADDRESS")]
    pub docker_host: Option<String>,
    /// Use this library for library:// names
    #[arg(long, value_name = "ADDRESS")]
    pub library: Option<String>,
    /// Do not keep fetched images in the cache
    #[arg(long)]
    pub disable_cache: bool,
    /// Choose the image of this architecture among several (amd64, arm64, ...), and ignore the one
    /// that a single image declares
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// Choose this variant of the architecture (v2, v3, ...)
    #[arg(long, value_name = "NAME")]
    pub arch_variant: Option<String>,
    /// Choose architecture and variant in one word: linux/ARCHITECTURE[/VARIANT]
    #[arg(long, value_name = "PLATFORM", conflicts_with = "arch")]
    pub platform: Option<String>,
}

const NO_HTTPS: Variable = Variable::of("no_https", &["NOHTTPS", "NO_HTTPS"]);
const DOCKER_LOGIN: Variable = Variable::of("docker_login", &["DOCKER_LOGIN"]);
const AUTHFILE: Variable = Variable::of("authfile", &["AUTH_FILE"]);
const DOCKER_HOST: Variable = Variable::of("docker_host", &["DOCKER_HOST"]);
const LIBRARY: Variable = Variable::of("library", &["LIBRARY"]);
const DISABLE_CACHE: Variable = Variable::of("disable_cache", &["DISABLE_CACHE"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[
    NO_HTTPS,
    DOCKER_LOGIN,
    AUTHFILE,
    DOCKER_HOST,
    LIBRARY,
    DISABLE_CACHE,
];

/// The access to sources, from flags, variables and the site's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryOptions {
    /// Whether registries without TLS are accepted.
    pub insecure: bool,
    /// The user and the password for all registries, if the user gave them.
    pub login: Option<(String, String)>,
    /// Files of credentials.
    pub credentials: Vec<PathBuf>,
    /// The library's address.
    pub library: Option<String>,
    /// The docker daemon's socket.
    pub daemon: PathBuf,
    /// Whether nothing is kept in the cache.
    pub without_cache: bool,
    /// The architecture, if not this machine's, and its variant.
    pub platform: Option<(String, Option<String>)>,
    /// The directory for temporary files.
    pub scratch: PathBuf,
    /// Whether every file of a built image becomes readable by its owner.
    pub fix_permissions: bool,
    /// A file of certificate authorities, instead of the host's.
    pub authorities: Option<PathBuf>,
    /// The site's configuration.
    pub site: Site,
}

/// The docker daemon's usual socket.
const DAEMON: &str = "/var/run/docker.sock";

impl Group for RegistryFlags {
    const LONG: &'static [&'static str] = &[
        "no-https",
        "nohttps",
        "docker-login",
        "authfile",
        "docker-host",
        "library",
        "disable-cache",
        "arch",
        "arch-variant",
        "platform",
    ];
    const SHORT: &'static str = "";
}

impl RegistryFlags {
    /// Combines flags, variables and the site's configuration.
    ///
    /// # Errors
    ///
    /// Fails on invalid values, and on a site configuration that cannot be read.
    pub fn resolve(&self, caller: &Caller) -> Result<RegistryOptions> {
        let variables = &caller.variables;
        let value = |variable: &Variable| {
            let (_, value) = variables.value(variable)?;
            Some(value.to_string_lossy().into_owned())
        };
        let site = caller.site()?.clone();
        let mut login = value(&settings::DOCKER_USERNAME).zip(value(&settings::DOCKER_PASSWORD));
        if self.docker_login || variables.is_set(&DOCKER_LOGIN)? {
            login = Some(crate::prompt::login(None)?);
        }
        let daemon = self.docker_host.clone().or_else(|| value(&DOCKER_HOST));
        let daemon = daemon.or_else(|| {
            let plain = variables.get("DOCKER_HOST")?;
            Some(plain.to_string_lossy().into_owned())
        });
        Ok(RegistryOptions {
            insecure: self.no_https || variables.is_set(&NO_HTTPS)?,
            login,
            credentials: credentials(self.authfile.clone(), caller),
            library: self
                .library
                .clone()
                .or_else(|| value(&LIBRARY))
                .or_else(|| site.library.clone()),
            daemon: daemon.map_or(Ok(PathBuf::from(DAEMON)), |host| socket(&host))?,
            without_cache: self.disable_cache || variables.is_set(&DISABLE_CACHE)?,
            platform: self.platform()?,
            scratch: scratch(variables),
            fix_permissions: variables.is_set(&settings::FIXPERMS)?,
            authorities: authorities(variables),
            site,
        })
    }

    fn platform(&self) -> Result<Option<(String, Option<String>)>> {
        let variant = self.arch_variant.clone();
        let Some(platform) = &self.platform else {
            let here = || pull::host_platform().architecture;
            return Ok(match &self.arch {
                Some(arch) => Some((arch.clone(), variant)),
                None => variant.map(|variant| (here(), Some(variant))),
            });
        };
        let mut parts = platform.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("linux"), Some(arch), own, None) => {
                Ok(Some((arch.to_owned(), own.map(str::to_owned).or(variant))))
            }
            (Some(arch), None, None, None) if arch != "linux" => {
                Ok(Some((arch.to_owned(), variant)))
            }
            _ => bail!("--platform {platform}: expected linux/ARCHITECTURE[/VARIANT]"),
        }
    }
}

/// Returns the directory for temporary files.
fn scratch(variables: &Variables) -> PathBuf {
    let chosen = variables.value(&settings::TMPDIR);
    let chosen = chosen.map(|(_, directory)| directory);
    chosen
        .or_else(|| variables.get("TMPDIR"))
        .map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

/// Returns the file of certificate authorities that the user chose.
pub fn authorities(variables: &Variables) -> Option<PathBuf> {
    variables.get("SSL_CERT_FILE").map(PathBuf::from)
}

/// Returns the files that may have the user's credentials for a registry, the strongest first.
fn credentials(chosen: Option<PathBuf>, caller: &Caller) -> Vec<PathBuf> {
    let variables = &caller.variables;
    let flag = |variable: &Variable| {
        let (_, value) = variables.value(variable)?;
        Some(PathBuf::from(value))
    };
    let plain = |name: &str| variables.get(name).map(PathBuf::from);
    let home = caller.account().home;
    let chosen = chosen
        .or_else(|| flag(&AUTHFILE))
        .or_else(|| plain("REGISTRY_AUTH_FILE"));
    if let Some(chosen) = chosen {
        return vec![chosen];
    }
    let docker = plain("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker"));
    let mut files = vec![
        caller.login_file(),
        home.join(".singularity/docker-config.json"),
    ];
    files.extend(plain("XDG_RUNTIME_DIR").map(|run| run.join("containers/auth.json")));
    files.push(home.join(".config/containers/auth.json"));
    files.push(docker.join("config.json"));
    files
}

fn socket(host: &str) -> Result<PathBuf> {
    match host.strip_prefix("unix://") {
        Some(path) => Ok(PathBuf::from(path)),
        None if host.starts_with('/') => Ok(PathBuf::from(host)),
        None => bail!(
            "docker daemon {host}: only unix://SOCKET is supported; use docker:// and a registry"
        ),
    }
}
