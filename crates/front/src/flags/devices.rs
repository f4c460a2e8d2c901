//! The devices and drivers that a container gets.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use inject::Vendor;

use super::{Group, Variable};
use crate::site::Site;
use crate::variables::Variables;

/// The flags for devices and drivers.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Devices")]
pub struct DeviceFlags {
    /// Inject NVIDIA's driver: devices, libraries and nvidia-smi
    #[arg(long)]
    pub nv: bool,
    /// Inject the files for AMD's GPUs: devices, libraries, rocminfo and rocm-smi
    #[arg(long)]
    pub rocm: bool,
    /// Do not inject NVIDIA's driver, even if a variable asks for it
    #[arg(long, hide = true, overrides_with = "nv")]
    pub no_nv: bool,
    /// Do not inject the files for AMD's GPUs, even if a variable asks for them
    #[arg(long, hide = true, overrides_with = "rocm")]
    pub no_rocm: bool,
    /// Do the same as --nv
    #[arg(long, hide = true)]
    pub nvccli: bool,
    /// Do nothing: images with a 32-bit C library get 32-bit drivers in any case
    #[arg(long, hide = true)]
    pub compat32: bool,
    /// Inject devices by their CDI names: VENDOR/CLASS=NAME, several separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub device: Vec<String>,
    /// Look for CDI files in these directories
    #[arg(long, value_name = "DIRECTORY", value_delimiter = ',')]
    pub cdi_dirs: Vec<PathBuf>,
}

const NV: Variable = Variable::of("nv", &["NV"]);
const ROCM: Variable = Variable::of("rocm", &["ROCM"]);
const NO_NV: Variable = Variable::of("no_nv", &["NV_OFF", "NO_NV"]);
const NO_ROCM: Variable = Variable::of("no_rocm", &["ROCM_OFF", "NO_ROCM"]);
const NVCCLI: Variable = Variable::of("nvccli", &["NVCCLI"]);
const COMPAT32: Variable = Variable::of("compat32", &["COMPAT32"]);
const DEVICE: Variable = Variable::of("device", &["DEVICE"]);
const CDI_DIRS: Variable = Variable::of("cdi_dirs", &["CDI_DIRS"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] =
    &[NV, ROCM, NO_NV, NO_ROCM, NVCCLI, COMPAT32, DEVICE, CDI_DIRS];

/// The devices and drivers that a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Devices {
    /// The vendors whose drivers are injected.
    pub vendors: Vec<Vendor>,
    /// The names of further devices.
    pub names: Vec<cdi::Name>,
    /// The directories of the CDI files that describe these devices.
    pub directories: Vec<PathBuf>,
    /// The selected GPUs of each vendor. Empty for a container that sees all devices of the host.
    pub selections: Vec<Selection>,
}

/// The GPUs of a vendor that the caller selected by variables.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selection {
    /// The vendor.
    pub vendor: Vendor,
    /// The name of the variable that selects. Empty if there is none: all GPUs are selected.
    pub name: &'static str,
    /// The value of that variable.
    pub value: String,
    /// The name of the variable that programs read.
    pub own_name: &'static str,
    /// The value of the variable that programs read, if there is one.
    pub own: Option<String>,
}

/// Variables of a scheduler, which count all GPUs of the machine.
const SCHEDULER: [&str; 2] = ["SLURM_STEP_GPUS", "SLURM_JOB_GPUS"];

impl Selection {
    /// Finds the strongest of a vendor's variables. Those of programs, which come last, may count
    /// only the job's GPUs.
    fn of(vendor: Vendor, variables: &Variables) -> Self {
        let (first, own_name) = match vendor {
            Vendor::Nvidia => ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
            Vendor::Amd => ("AMD_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
        };
        let text = |name| Some(variables.get(name)?.to_string_lossy().into_owned());
        let names = [first].into_iter().chain(SCHEDULER).chain([own_name]);
        let mut set = names.filter_map(|name| Some((name, text(name)?)));
        // The value is `void` in a container whose GPUs were injected in another way.
        let asks = |name, value: &str| name == own_name || !(value.is_empty() || value == "void");
        let (name, value) = set
            .find(|(name, value)| asks(*name, value))
            .unwrap_or_default();
        Self {
            vendor,
            name,
            value,
            own_name,
            own: text(own_name),
        }
    }
}

impl Group for DeviceFlags {
    const LONG: &'static [&'static str] = &[
        "nv", "rocm", "no-nv", "no-rocm", "nvccli", "compat32", "device", "cdi-dirs",
    ];
    const SHORT: &'static str = "";
}

impl DeviceFlags {
    /// Combines flags and variables. A contained container gets the selected GPUs only.
    ///
    /// # Errors
    ///
    /// Fails on invalid values.
    pub fn resolve(
        &self,
        is_contained: bool,
        site: &Site,
        variables: &Variables,
    ) -> Result<Devices> {
        let mut vendors = Vec::new();
        let nvccli = self.nvccli || variables.is_set(&NVCCLI)?;
        let nv = (self.nv || nvccli, site.nv, NV, self.no_nv, NO_NV);
        let rocm = (self.rocm, site.rocm, ROCM, self.no_rocm, NO_ROCM);
        for (vendor, (flag, always, variable, off, not)) in
            [(Vendor::Nvidia, nv), (Vendor::Amd, rocm)]
        {
            let is_off = off || variables.is_set(&not)?;
            if flag || !is_off && (always || variables.is_set(&variable)?) {
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
        let selected = vendors.iter().filter(|_| is_contained);
        let selected = selected.map(|vendor| Selection::of(*vendor, variables));
        Ok(Devices {
            selections: selected.collect(),
            vendors,
            names: names.collect::<Result<_, _>>()?,
            directories,
        })
    }
}
