//! Detects the host's networks.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::verbs;
use crate::Host;

/// Networks that programs reach through devices and a library for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// InfiniBand, RoCE, EFA: the cards of the kernel's RDMA subsystem.
    Verbs,
    /// Omni-Path.
    OmniPath,
    /// HPE Slingshot.
    Slingshot,
    /// Cray Aries and Gemini.
    Aries,
}

/// Directories of devices.
const DIRECTORIES: [&str; 2] = ["/dev", "/dev/infiniband"];

/// A network's devices: their directory and the prefix of their names; further devices that belong
/// to them; and the library that opens them.
struct Row {
    kind: Kind,
    directory: &'static str,
    beginning: &'static str,
    with: &'static [&'static str],
    library: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        kind: Kind::Verbs,
        directory: "/dev/infiniband",
        beginning: "uverbs",
        with: &["/dev/infiniband/rdma_cm"],
        library: "libibverbs.so.1",
    },
    Row {
        kind: Kind::OmniPath,
        directory: "/dev",
        beginning: "hfi1_",
        with: &[],
        library: "libpsm2.so.2",
    },
    Row {
        kind: Kind::Slingshot,
        directory: "/dev",
        beginning: "cxi",
        with: &["/dev/ss0"],
        library: "libcxi.so.1",
    },
    Row {
        kind: Kind::Aries,
        directory: "/dev",
        beginning: "kgni",
        with: &["/dev/kdreg"],
        library: "libugni.so.0",
    },
];

/// Devices that are not networks, but speed up messages on a node or from a GPU. Each with its
/// library.
const COMPANIONS: &[(&str, Option<&str>)] = &[
    ("/dev/xpmem", Some("libxpmem.so.0")),
    ("/dev/knem", None),
    ("/dev/gdrdrv", Some("libgdrapi.so.2")),
];

/// A network of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The kind of network.
    pub kind: Kind,
    /// The nodes of its cards.
    pub nodes: Vec<PathBuf>,
    /// Nodes that programs need for any of the cards.
    pub common: Vec<PathBuf>,
}

impl Kind {
    /// Returns the library that opens its devices.
    pub(super) fn library(self) -> &'static str {
        let row = ROWS.iter().find(|row| row.kind == self);
        row.map_or("", |row| row.library)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verbs => "InfiniBand or RoCE",
            Self::OmniPath => "Omni-Path",
            Self::Slingshot => "Slingshot",
            Self::Aries => "Aries",
        })
    }
}

/// Returns the fast networks of a host.
#[must_use]
pub fn networks(host: &Host) -> Vec<Network> {
    let listed = DIRECTORIES.map(|directory| (directory, host.names(Path::new(directory))));
    let network = |row: &Row| {
        let names = listed
            .iter()
            .filter(|(directory, _)| *directory == row.directory);
        let names = names.flat_map(|(_, names)| names);
        let own = names.filter(|name| name.to_string_lossy().starts_with(row.beginning));
        let nodes: Vec<PathBuf> = { own }
            .map(|name| Path::new(row.directory).join(name))
            .collect();
        (!nodes.is_empty()).then(|| Network {
            kind: row.kind,
            nodes,
            common: present(host, row.with),
        })
    };
    ROWS.iter().filter_map(network).collect()
}

/// The kind of network devices in CDI files: the part of a device's name before the card's name.
pub const CDI_KIND: &str = "slipway/fabric";

/// Returns the usual name of the card that a node belongs to: `mlx5_0` for
/// `/dev/infiniband/uverbs0`, `cxi0` for `/dev/cxi0`.
#[must_use]
pub fn card(host: &Host, node: &Path) -> String {
    let file = node.file_name().unwrap_or_default();
    let told = Path::new("/sys/class/infiniband_verbs")
        .join(file)
        .join("ibdev");
    let told = host.text(&told);
    told.unwrap_or_else(|| file.to_string_lossy().into_owned())
}

/// Whether a host has fast networks.
#[must_use]
pub fn is_there(host: &Host) -> bool {
    !networks(host).is_empty()
}

/// Returns the nodes of all fast networks of a host, and of their companion devices. Returns none
/// on a host without fast networks.
#[must_use]
pub fn nodes(host: &Host) -> Vec<PathBuf> {
    let networks = networks(host);
    if networks.is_empty() {
        return Vec::new();
    }
    let own = networks
        .into_iter()
        .flat_map(|network| network.nodes.into_iter().chain(network.common));
    let companions = companions(host).into_iter().map(|(node, _)| node);
    own.chain(companions).collect()
}

/// Returns the nodes of the companion devices (XPMEM, KNEM and GDRCopy), with their libraries.
pub(super) fn companions(host: &Host) -> Vec<(PathBuf, Option<&'static str>)> {
    let all = COMPANIONS.iter();
    let all = all.map(|(node, library)| (PathBuf::from(node), *library));
    all.filter(|(node, _)| host.exists(node)).collect()
}

fn present(host: &Host, nodes: &[&str]) -> Vec<PathBuf> {
    let nodes = nodes.iter().map(PathBuf::from);
    nodes.filter(|node| host.exists(node)).collect()
}

/// Returns a text that changes with everything on the host that a result about its networks depends
/// on, except the loader's cache. Returns `None` for a host without networks.
#[must_use]
pub fn identity(host: &Host) -> Option<String> {
    let networks = networks(host);
    let more = || (verbs::providers(host), companions(host));
    (!networks.is_empty()).then(|| format!("{networks:?} {:?}", more()))
}
