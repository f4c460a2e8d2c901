//! The devices and drivers that a request asks for.

use std::path::PathBuf;

use anyhow::Result;
use inject::Vendor;

use crate::caller::Caller;
use crate::cli::ContainerFlags;

pub(super) fn devices(
    flags: &ContainerFlags,
    caller: &Caller,
) -> Result<(Vec<cdi::Name>, Vec<PathBuf>)> {
    let list = |flag: &[String], name: &str| -> Vec<String> {
        let variable = caller.variables.flag(name).filter(|_| flag.is_empty());
        let variable = variable.map(|(_, value)| value.to_string_lossy().into_owned());
        let words = variable
            .iter()
            .flat_map(|value| value.split(','))
            .map(str::to_owned);
        flag.iter().cloned().chain(words).collect()
    };
    let names = list(&flags.device, "DEVICE");
    let names = names
        .iter()
        .map(|name| cdi::Name::parse(name))
        .collect::<Result<_, _>>()?;
    let mut directories = flags.cdi_dirs.clone();
    if directories.is_empty() {
        directories = list(&[], "CDI_DIRS")
            .into_iter()
            .map(PathBuf::from)
            .collect();
    }
    if directories.is_empty() {
        directories = cdi::Registry::DIRECTORIES.map(PathBuf::from).into();
    }
    Ok((names, directories))
}

pub(super) fn vendors(flags: &ContainerFlags, caller: &Caller) -> Result<Vec<Vendor>> {
    let each = [
        (Vendor::Nvidia, flags.nv, "NV"),
        (Vendor::Amd, flags.rocm, "ROCM"),
    ];
    let mut vendors = Vec::new();
    for (vendor, flag, variable) in each {
        if flag || caller.variables.switch(variable)? {
            vendors.push(vendor);
        }
    }
    Ok(vendors)
}
