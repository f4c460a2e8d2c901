//! libibverbs and its providers. A provider is a library for one of the kernel's drivers, which
//! libibverbs loads by name.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rootfs::Files;

use crate::Host;

/// The kernel's directory of RDMA devices (`Documentation/ABI/stable/sysfs-class-infiniband`).
const CARDS: &str = "/sys/class/infiniband";

/// The directory in which libibverbs looks up its providers.
pub(super) const CONFIGURATION: &str = "/etc/libibverbs.d";

/// Providers by the kernel's driver of the card, where the two names differ (rdma-core,
/// `providers`).
const DRIVERS: &[(&str, &str)] = &[
    ("mlx5_core", "mlx5"),
    ("mlx4_core", "mlx4"),
    ("ib_mthca", "mthca"),
    ("hfi1", "hfi1verbs"),
    ("ib_qib", "ipathverbs"),
    ("ice", "irdma"),
    ("i40e", "irdma"),
    ("idpf", "irdma"),
    ("bnxt_en", "bnxt_re"),
    ("hns3", "hns"),
    ("hns_roce_hw_v2", "hns"),
    ("qede", "qedr"),
    ("be2net", "ocrdma"),
];

/// Returns the providers that the host's cards need.
pub(super) fn providers(host: &Host) -> BTreeSet<String> {
    let cards = host.names(Path::new(CARDS)).into_iter();
    cards.map(|card| provider(host, &card)).collect()
}

/// Returns a card's provider, which is named after the card's driver. A card without hardware has
/// no driver; its provider is named after the card.
fn provider(host: &Host, card: &OsStr) -> String {
    let driver = Path::new(CARDS).join(card).join("device/driver");
    let Some(driver) = host.canonical(&driver) else {
        let name = card.to_string_lossy();
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
        return name.to_owned();
    };
    let driver = driver.file_name().unwrap_or_default().to_string_lossy();
    let known = DRIVERS.iter().find(|(kernels, _)| *kernels == driver);
    known.map_or_else(
        || driver.into_owned(),
        |(_, provider)| (*provider).to_owned(),
    )
}

/// Returns the path of a provider in a root file system, for the libibverbs at a path. libibverbs
/// looks for its providers in a directory beside itself.
pub(super) fn find(files: &dyn Files, libibverbs: &Path, provider: &str) -> Option<PathBuf> {
    let directory = libibverbs.with_file_name("libibverbs");
    let beginning = format!("lib{provider}-rdmav");
    let names = files.list(&directory).ok()?;
    let own = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with(&beginning);
    let name = names.iter().find(own)?;
    Some(directory.join(name))
}

/// Returns all providers in a root file system, for the libibverbs at a path.
pub(super) fn all(files: &dyn Files, libibverbs: &Path) -> Vec<PathBuf> {
    let directory = libibverbs.with_file_name("libibverbs");
    let names = files.list(&directory).unwrap_or_default().into_iter();
    let providers = names.filter(|name| name.to_string_lossy().contains("-rdmav"));
    providers.map(|name| directory.join(name)).collect()
}

/// Returns the configuration file by which libibverbs knows a provider.
pub(super) fn configuration(provider: &str) -> PathBuf {
    Path::new(CONFIGURATION).join(format!("{provider}.driver"))
}
