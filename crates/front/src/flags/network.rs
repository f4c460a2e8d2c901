//! The network and the host name of a container.

use std::net::IpAddr;

use anyhow::{Result, bail};
use clap::Args;

use super::{Group, Variable};
use crate::variables::Variables;

/// The flags for the network and the host name.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkFlags {
    /// Give the container its own network, in which it reaches only itself
    #[arg(short, long)]
    pub net: bool,
    /// Choose the container's network: host, or none for one in which it reaches only itself
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Do nothing: the network none takes no arguments
    #[arg(long, value_name = "ARGUMENTS", hide = true)]
    pub network_args: Vec<String>,
    /// Use these name servers: addresses, several separated by commas
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub dns: Vec<String>,
    /// Give the container its own host name
    #[arg(long)]
    pub uts: bool,
    /// Give the container this host name
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
}

const NET: Variable = Variable::of("net", &["NET", "UNSHARE_NET"]);
const NETWORK: Variable = Variable::of("network", &["NETWORK"]);
const NETWORK_ARGS: Variable = Variable::of("network_args", &["NETWORK_ARGS"]);
const DNS: Variable = Variable::of("dns", &["DNS"]);
const UTS: Variable = Variable::of("uts", &["UTS", "UNSHARE_UTS"]);
const HOSTNAME: Variable = Variable::of("hostname", &["HOSTNAME"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[NET, NETWORK, NETWORK_ARGS, DNS, UTS, HOSTNAME];

/// The network and the host name of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Network {
    /// Whether the container has its own network, in which it reaches only itself.
    pub is_own: bool,
    /// The name servers, if they are not the host's.
    pub name_servers: Vec<IpAddr>,
    /// Whether the container has its own host name.
    pub own_name: bool,
    /// The host name, if the user chose one.
    pub host_name: Option<String>,
}

impl Group for NetworkFlags {
    const LONG: &'static [&'static str] =
        &["net", "network", "network-args", "dns", "uts", "hostname"];
    const SHORT: &'static str = "n";
}

impl NetworkFlags {
    /// Combines flags and variables.
    ///
    /// # Errors
    ///
    /// Fails on invalid values, and on networks that need the administrator's help.
    pub fn resolve(&self, variables: &Variables) -> Result<Network> {
        let text = |variable: &Variable| {
            let (_, value) = variables.value(variable)?;
            Some(value.to_string_lossy().into_owned())
        };
        let network = self.network.clone().or_else(|| text(&NETWORK));
        let arguments = match self.network_args.is_empty() {
            true => variables.list(&NETWORK_ARGS),
            false => self.network_args.clone(),
        };
        let is_own = match network.as_deref() {
            None => self.net || variables.is_set(&NET)?,
            Some("none") => true,
            Some("host") => false,
            Some(other) => bail!(
                "--network {other}: front has the networks host and none; for others, use podman \
                 with slipway"
            ),
        };
        // Arguments such as IP=… are for networks that reach others.
        if let Some(argument) = arguments.iter().find(|one| !one.is_empty())
            && network.as_deref() != Some("none")
        {
            bail!("--network-args {argument}: only --network none is supported, and needs none")
        }
        let servers = match self.dns.is_empty() {
            true => variables.list(&DNS),
            false => self.dns.clone(),
        };
        let servers = servers.iter().map(|server| match server.trim().parse() {
            Ok(address) => Ok(address),
            Err(_) => bail!("--dns {server}: expected an IP address"),
        });
        let host_name = self.hostname.clone().or_else(|| text(&HOSTNAME));
        if let Some(name) = host_name.as_ref().filter(|name| !is_host_name(name)) {
            bail!("--hostname {name}: expected up to 63 letters, digits, hyphens and dots");
        }
        Ok(Network {
            is_own,
            name_servers: servers.collect::<Result<_>>()?,
            own_name: host_name.is_some() || self.uts || variables.is_set(&UTS)?,
            host_name,
        })
    }
}

/// Whether a text is a host name (RFC 1123). The kernel allows 64 bytes, sethostname(2).
fn is_host_name(name: &str) -> bool {
    (1..64).contains(&name.len()) && !name.starts_with('-') && { name.bytes() }
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

impl Network {
    /// Returns the content of `/etc/resolv.conf`, if it is not the host's.
    pub fn resolv_conf(&self) -> Option<Vec<u8>> {
        let lines = self.name_servers.iter();
        let lines = lines.map(|server| format!("nameserver {server}\n"));
        let text: String = lines.collect();
        (!text.is_empty()).then(|| text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(variables: &[(&str, &str)]) -> Result<Network> {
        NetworkFlags::default().resolve(&Variables::of(variables))
    }

    #[test]
    fn the_network_is_the_hosts_or_none() {
        let is_own = |variables: &[(&str, &str)]| resolve(variables).map(|found| found.is_own);
        assert!(is_own(&[("APPTAINER_NETWORK", "none")]).unwrap());
        assert!(is_own(&[("SINGULARITY_NET", "1")]).unwrap());
        assert!(!is_own(&[("APPTAINER_NETWORK", "host"), ("APPTAINER_NET", "1")]).unwrap());
        assert!(!is_own(&[]).unwrap());
        let error = is_own(&[("APPTAINER_NETWORK", "bridge")]).unwrap_err();
        assert!(error.to_string().starts_with("--network bridge: "));
        assert!(is_own(&[("APPTAINER_NETWORK_ARGS", "IP=10.0.0.2")]).is_err());
    }

    #[test]
    fn names_and_name_servers_are_checked() {
        let found = resolve(&[("APPTAINER_DNS", "192.0.2.1, 2001:db8::1")]).unwrap();
        let text = found.resolv_conf().unwrap();
        assert_eq!(text, b"nameserver 192.0.2.1\nnameserver 2001:db8::1\n");
        assert!(resolve(&[("APPTAINER_DNS", "dns.example.org")]).is_err());
        let found = resolve(&[("APPTAINER_HOSTNAME", "node-1.x")]).unwrap();
        assert!(found.own_name);
        for wrong in ["a b", "-a", "a/b", &"a".repeat(64)] {
            assert!(
                resolve(&[("APPTAINER_HOSTNAME", wrong)]).is_err(),
                "{wrong}"
            );
        }
    }
}
