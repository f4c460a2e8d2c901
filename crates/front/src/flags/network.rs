//! How images that are no files are reached.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::{Variable, settings};
use crate::caller::Caller;
use crate::fetch::login_file;
use crate::site::Site;

/// How registries, libraries and daemons are reached.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Images that are no files")]
pub struct NetworkFlags {
    /// Take a registry without TLS, or with a certificate that nobody vouches for
    #[arg(long, alias = "nohttps")]
    pub no_https: bool,
    /// Ask for a user and a password for the registry
    #[arg(long)]
    pub docker_login: bool,
    /// The file of credentials
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// The docker daemon: unix://SOCKET
    #[arg(long, value_name = "ADDRESS")]
    pub docker_host: Option<String>,
    /// The library that library:// means
    #[arg(long, value_name = "ADDRESS")]
    pub library: Option<String>,
    /// Keep nothing of what is fetched
    #[arg(long)]
    pub disable_cache: bool,
    /// The architecture: amd64, arm64, ...; chooses among several, and counts more than what one says
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// The variant of the architecture: v2, v3, ...
    #[arg(long, value_name = "NAME")]
    pub arch_variant: Option<String>,
    /// The same as one word: linux/ARCHITECTURE[/VARIANT]
    #[arg(long, value_name = "PLATFORM", conflicts_with = "arch")]
    pub platform: Option<String>,
}

const NO_HTTPS: Variable = Variable::of("no_https", &["NOHTTPS", "NO_HTTPS"]);
const DOCKER_LOGIN: Variable = Variable::of("docker_login", &["DOCKER_LOGIN"]);
const AUTHFILE: Variable = Variable::of("authfile", &["AUTH_FILE"]);
const DOCKER_HOST: Variable = Variable::of("docker_host", &["DOCKER_HOST"]);
const LIBRARY: Variable = Variable::of("library", &["LIBRARY"]);
const DISABLE_CACHE: Variable = Variable::of("disable_cache", &["DISABLE_CACHE"]);

/// The variables that stand for them.
pub(super) const VARIABLES: &[Variable] = &[
    NO_HTTPS,
    DOCKER_LOGIN,
    AUTHFILE,
    DOCKER_HOST,
    LIBRARY,
    DISABLE_CACHE,
];

/// How sources are reached: flags, variables and the site's configuration, put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Whether a registry may be without TLS.
    pub insecure: bool,
    /// Who the user is to all registries, if they say.
    pub login: Option<(String, String)>,
    /// Files of credentials.
    pub credentials: Vec<PathBuf>,
    /// The library's address.
    pub library: Option<String>,
    /// The docker daemon's socket.
    pub daemon: PathBuf,
    /// Whether nothing is kept.
    pub without_cache: bool,
    /// The architecture, if not this machine's, and its variant.
    pub platform: Option<(String, Option<String>)>,
    /// The site's configuration.
    pub site: Site,
}

/// The docker daemon's usual socket.
const DAEMON: &str = "/var/run/docker.sock";

impl NetworkFlags {
    /// Puts flags and variables together.
    ///
    /// # Errors
    ///
    /// Fails on values that have no meaning, and on a site configuration that cannot be read.
    pub fn resolve(&self, caller: &Caller) -> Result<Network> {
        let variables = &caller.variables;
        let value = |variable: &Variable| {
            let (_, value) = variables.value(variable)?;
            Some(value.to_string_lossy().into_owned())
        };
        let site = Site::read(variables)?;
        let mut login = value(&settings::DOCKER_USERNAME).zip(value(&settings::DOCKER_PASSWORD));
        if self.docker_login || variables.is_set(&DOCKER_LOGIN)? {
            login = Some(crate::prompt::login(None)?);
        }
        let daemon = self.docker_host.clone().or_else(|| value(&DOCKER_HOST));
        let daemon = daemon.or_else(|| {
            let plain = variables.get("DOCKER_HOST")?;
            Some(plain.to_string_lossy().into_owned())
        });
        Ok(Network {
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
            site,
        })
    }

    fn platform(&self) -> Result<Option<(String, Option<String>)>> {
        let variant = self.arch_variant.clone();
        let Some(platform) = &self.platform else {
            let here = || image::host_platform().architecture;
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

/// The files that may know who the user is to a registry, the strongest first.
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
        login_file(caller),
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
