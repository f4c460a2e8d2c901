//! The devices and drivers that a container gets.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use inject::Vendor;

use super::Variable;
use crate::variables::Variables;

/// Which devices and drivers of the host's it gets.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Devices")]
pub struct DeviceFlags {
    /// Inject NVIDIA's driver: devices, libraries and nvidia-smi
    #[arg(long)]
    pub nv: bool,
    /// Inject what AMD's GPUs need: devices, libraries, rocminfo and rocm-smi
    #[arg(long)]
    pub rocm: bool,
    /// Inject devices by their CDI names: VENDOR/CLASS=NAME, several with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub device: Vec<String>,
    /// Where CDI files are
    #[arg(long, value_name = "DIRECTORY", value_delimiter = ',')]
    pub cdi_dirs: Vec<PathBuf>,
}

const NV: Variable = Variable::of("nv", &["NV"]);
const ROCM: Variable = Variable::of("rocm", &["ROCM"]);
const DEVICE: Variable = Variable::of("device", &["DEVICE"]);
const CDI_DIRS: Variable = Variable::of("cdi_dirs", &["CDI_DIRS"]);

/// The variables that stand for them.
pub(super) const VARIABLES: &[Variable] = &[NV, ROCM, DEVICE, CDI_DIRS];

/// The devices and drivers that a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Devices {
    /// Whose drivers are injected.
    pub vendors: Vec<Vendor>,
    /// Devices by name.
    pub names: Vec<cdi::Name>,
    /// Where the files are that know those.
    pub directories: Vec<PathBuf>,
}

impl DeviceFlags {
    /// Puts flags and variables together.
    ///
    /// # Errors
    ///
    /// Fails on values that have no meaning.
    pub fn resolve(&self, variables: &Variables) -> Result<Devices> {
        let mut vendors = Vec::new();
        for (vendor, flag, variable) in [
            (Vendor::Nvidia, self.nv, NV),
            (Vendor::Amd, self.rocm, ROCM),
        ] {
            if flag || variables.is_set(&variable)? {
                vendors.push(vendor);
            }
        }
        let names = match self.device.is_empty() {
            true => variables.list(&DEVICE),
            false => self.device.clone(),
        };
        let names = names.iter().map(|name| cdi::Name::parse(name));
        let mut directories = self.cdi_dirs.clone();
        if directories.is_empty() {
            directories.extend(variables.list(&CDI_DIRS).into_iter().map(PathBuf::from));
        }
        if directories.is_empty() {
            directories.extend(cdi::Registry::DIRECTORIES.map(PathBuf::from));
        }
        Ok(Devices {
            vendors,
            names: names.collect::<Result<_, _>>()?,
            directories,
        })
    }
}
